"""Malformed configurations and command lines by the hundred: one message each, no traceback."""

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from places import ROOT

from l2o.cli import build_parser, main
from l2o.config import files as config
from l2o.errors import ConfigError

pytestmark = pytest.mark.long

FOLDER = ROOT / "config"
EXAMPLES = 150
drill = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a case is small as it is drawn
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def resolved() -> dict[str, Any]:
    return config.build(config.read_yaml(FOLDER / "config.yaml"), FOLDER).model_dump(mode="json")


WHOLE = resolved()
# Free by design: hyperparameters of any optimizer, and texts that people write.
_FREE = {"optimizer", "question", "table", "weights"}


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of everything below a value that is not free."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in parts:
        if key not in _FREE:
            yield from leaves(part, (*path, key))
    for key, part in enumerate(value) if isinstance(value, list) else ():
        yield from leaves(part, (*path, key))


# What an ablation calls its recipes is free, too.
PATHS = [path for path in leaves(WHOLE) if len(path) < 4 or path[0::2] != ("ablations", "recipes")]


def at(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def replaced(path: tuple, wrong: Any) -> dict[str, Any]:
    copy = yaml.safe_load(yaml.safe_dump(WHOLE))
    at(copy, path[:-1])[path[-1]] = wrong
    return copy


def wrong_values(right: Any) -> list[Any]:
    """Return values that cannot stand where this one stands."""
    if isinstance(right, bool):
        return ["maybe", 7, [True], {}]
    if isinstance(right, int):
        return [-1, 1.5, "many", [1], {"a": 1}, math.nan, math.inf]
    if isinstance(right, float):
        return [-0.1, "much", [0.1], {"a": 1}, math.nan, math.inf]
    if isinstance(right, str):
        return [7, [], {}, "x; rm -rf ~", "../up", "$(id)", ""]
    if isinstance(right, list):
        return [7, "text", {"a": 1}]
    if isinstance(right, dict):
        return [7, "text", [1]]
    return [[[]], {"a": {}}, "x; rm -rf ~"]  # optional, and not set


def malformed() -> st.SearchStrategy[tuple[tuple, Any]]:
    """Draw a path of the configuration, and what cannot stand there."""
    unknown = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=9)
    models = [path for path in PATHS if isinstance(at(WHOLE, path), dict) and _is_model(path)]
    wrong = [(path, value) for path in PATHS for value in wrong_values(at(WHOLE, path))]
    added = st.tuples(st.sampled_from(models), unknown).map(lambda x: ((*x[0], x[1] + "_zz"), 1))
    return st.sampled_from(wrong) | added


def _is_model(path: tuple) -> bool:
    """Return whether unknown keys are refused there: not in mappings from names of one's own."""
    own = {"toy_tasks", "recipes", "pretrained", "ablations", "sweeps", "variants", "sources"}
    return path[-1] not in own | {"factors"}


@drill
@given(malformed())
def test_a_malformed_configuration_names_its_key(case: tuple[tuple, Any]) -> None:
    path, wrong = case
    with pytest.raises(ConfigError) as caught:
        config.parse(config.Config, replaced(path, wrong))
    message = str(caught.value)
    assert str(path[-1]) in message and "\n" not in message


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scales").mkdir()
    return tmp_path


@drill
@given(case=malformed())
def test_the_command_line_says_it_in_one_line(folder: Path, case: tuple[tuple, Any]) -> None:
    path, wrong = case
    value, key = replaced(path, wrong), str(path[-1])
    scale = value.pop("scale", "quick")
    (folder / "scales" / "quick.yaml").write_text("scale: quick\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(value | {"scale": scale}))
    code, out, err = called("config", "--config", "config.yaml", "--out", "new.json")
    assert code == 2 and "Traceback" not in out + err
    assert err.startswith("l2o config: ") and err.count("\n") == 1
    assert (key in err or "scale" in err) and not (folder / "new.json").exists()


def called(*argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(argv))
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


STAGES = sorted(build_parser()._subparsers._group_actions[0].choices)
WORDS = ["--config", "--out", "--recipe", "--seeds", "--task", "x; rm -rf ~", "-1", "none.yaml", ""]


@drill
@given(
    stage=st.sampled_from([*STAGES, "stage", "--", "Meta-train"]),
    words=st.lists(st.sampled_from(WORDS), max_size=3),
)
@example(stage="meta-train", words=["--config", "none.yaml", "--out"])
def test_no_command_line_ends_in_a_traceback(folder: Path, stage: str, words: list[str]) -> None:
    """None of these is complete: something is required that no word gives."""
    code, out, err = called(stage, *words)
    if stage in ("list", "config", "track") or "-h" in words:
        assert code in (0, 1, 2)
    else:
        assert code == 2 and err
    assert "Traceback" not in out + err

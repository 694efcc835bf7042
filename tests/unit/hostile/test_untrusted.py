"""Files and names from elsewhere: none is executed, whatever it holds."""

import contextlib
import csv
import functools
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from places import ROOT

import l2o
from l2o.cli import main
from l2o.config import files as config
from l2o.config.sweeps import read_sweep
from l2o.errors import ConfigError
from l2o.files import read_table
from l2o.jobs.resume import ResumeState
from l2o.optimizers.weights import load_weights, save_weights
from l2o.seeding import key_for


def write(path: str | Path, content: str | bytes) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def settings(**changes: Any) -> dict[str, Any]:
    """Return unresolved settings at scale smoke, whose files are found from everywhere."""
    return config.merge(_base(), changes)


@functools.cache
def _base() -> dict[str, Any]:
    base = config.read_yaml(ROOT / "config" / "config.yaml") | {"scale": "smoke"}
    for sweep in base["sweeps"].values():
        sweep["table"] = str(ROOT / sweep["table"])
    return base


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a resolved configuration, in which to call `l2o`."""
    monkeypatch.chdir(tmp_path)
    # `main` sets what is not set, for good.
    for name in ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "100")
    changes = {
        "pretrained": {"elsewhere": {"weights": "bombs/w.safetensors"}},
        "sweeps": {"population": {"table": "bombs/rows.tsv"}},
    }
    config.write(config.build(settings(**changes), ROOT / "config"), "config.json")
    return tmp_path


# Files

_seen: list[str] = []
_state = {"hooked": False, "armed": False}


def _watch(event: str, args: tuple) -> None:
    if _state["armed"] and event in ("pickle.find_class", "os.system"):
        _seen.append(f"{event} {args}")
        raise RuntimeError(_seen[-1])


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Let nothing be unpickled, by whatever package, and no shell be called."""
    if not _state["hooked"]:
        sys.addaudithook(_watch)  # for good: there is no way to remove one
        _state["hooked"] = True
    _seen.clear()
    _state["armed"] = True
    try:
        yield
    finally:
        _state["armed"] = False
    assert _seen == []


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_unpickling_is_noticed(tmp_path: Path) -> None:
    data = pickle.dumps(Bomb(tmp_path / "canary"))
    with pytest.raises(AssertionError), watched(), contextlib.suppress(RuntimeError):
        pickle.loads(data)
    assert not (tmp_path / "canary").exists()
    pickle.loads(data)
    assert (tmp_path / "canary").is_dir()  # indeed


def test_no_load_path_unpickles(folder: Path) -> None:
    optimizer = l2o.make_optimizer("linear")
    tree = {"step": jnp.int32(3), "params": optimizer.init_meta(key_for(0, "init_meta"))}
    with watched():
        save_weights("w.safetensors", optimizer, tree["params"], {"learning_rate": 0.01})
        l2o.load("w.safetensors")
        load_weights("w.safetensors")
        ResumeState("state", {"a": 1}).save(4, tree)
        again = ResumeState("state", {"a": 1})
        assert again.latest == 4 and int(again.restore(tree)["step"]) == 3
        again.discard()
        config.load("config.json")


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir [canary]", "object/new:os.mkdir [canary]"])
def test_yaml_cannot_call(folder: Path, tag: str, capsys: pytest.CaptureFixture) -> None:
    text = f"scale: !!python/{tag}\n"
    yaml.unsafe_load(text)
    Path("canary").rmdir()  # indeed it could
    write("x.yaml", text)
    # What Snakemake takes for an expression is a text.
    write("y.yaml", "__use_yte__: true\nscale: ?__import__('os').mkdir('canary')\n")
    for name in ("x.yaml", "y.yaml"):
        for stage in ("config", "meta-train"):
            assert main([stage, "--config", name, "--out", "new"]) == 2
            assert capsys.readouterr().err.startswith(f"l2o {stage}: ")
    assert not Path("canary").exists()


@pytest.mark.parametrize("value", ["[" * 9000, "9" * 9000, "2020-13-45"], ids=lambda text: text[:3])
def test_values_that_readers_stumble_over(
    folder: Path, value: str, capsys: pytest.CaptureFixture
) -> None:
    write("x.yaml", f"scale: {value}\n")
    write("x.json", f'{{"scale": {value}}}')
    write("results/job/run.json", f'{{"scale": {value}}}')
    for command in ("config --config x.yaml", "baselines --config x.json --task catch"):
        assert main([*command.split(), "--out", "new"]) == 2
        assert "not valid" in capsys.readouterr().err
    assert main(["track", "sync"]) == 1
    assert "run.json: not valid JSON" in capsys.readouterr().err


def test_a_table_with_a_pickled_type_is_only_a_table(tmp_path: Path) -> None:
    """Old versions of pyarrow unpickled the description of a column's type."""
    described = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Bomb(tmp_path / "canary"), protocol=0),
    }
    schema = pa.schema([pa.field("a", pa.int64(), metadata=described)])
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table([pa.array([1, 2])], schema=schema), path)
    assert pq.read_schema(path).field("a").metadata[b"ARROW:extension:metadata"]
    with watched():
        assert read_table(path, ["a"])["a"].tolist() == [1, 2]
    assert not (tmp_path / "canary").exists()


BOMBS = """
w.safetensors w.pkl w.npz w.npy config.yaml config.json recipe.yaml rows.tsv state/fingerprint.json
baselines/catch/curves.parquet baselines/small_dense_short/curves.parquet
meta_train/linear/seed_0/checkpoints/step_000000.safetensors
select/champion.json select/champion.safetensors select/untrained.safetensors tune/tuned.json
recordings/small_dense_short/samples.safetensors recordings/small_dense_short/histograms.parquet
levels/optim4rl_b/toy/curves.parquet transfer/inverted_double_pendulum/curves.parquet
report/baselines/catch/curves.parquet
rows/meta_learning_rate~0.001/seed~0/checkpoints/step_000000.safetensors
"""
COMMANDS = """
evaluate --task catch --optimizer bombs/w.safetensors
evaluate --task catch --optimizer bombs/w.pkl
import-weights bombs/w.npz --from optim4rl --optimizer linear
import-weights bombs/w.npy --from open
config --config bombs/config.yaml
meta-train --config bombs/recipe.yaml
meta-train --config bombs/config.json --recipe linear
meta-train --config config.json --recipe linear --state bombs/state
select --config config.json --runs bombs/meta_train --baselines bombs/baselines
tune --config config.json --selection bombs/select --runs bombs/meta_train
transfer --config config.json --selection bombs/select --runs bombs/meta_train --tuned bombs/tune \
 --task inverted_double_pendulum
transfer-summary --config config.json --transfer bombs/transfer
level --config config.json --recipe linear --where toy --runs bombs/meta_train
level --config config.json --recipe elsewhere --where toy --runs bombs/meta_train
ablate --config config.json --ablation inductive_bias --levels bombs/levels \
 --baselines bombs/baselines
sweep --config config.json --sweep population
score-sweep --config config.json --sweep meta_learning_rate --runs bombs/rows --baselines bombs
study --config config.json --study range --recordings bombs/recordings
identity --config config.json --source small_dense_short --recordings bombs/recordings
report --config config.json --results bombs/report
""".strip().replace("\\\n", "")


@pytest.fixture
def bombs(folder: Path) -> bytes:
    data = pickle.dumps(Bomb(folder / "canary"))
    for name in BOMBS.split():
        write(f"bombs/{name}", data)
    return data


@pytest.mark.parametrize("command", COMMANDS.splitlines(), ids=lambda text: text.split()[0])
def test_pickles_are_refused(bombs: bytes, command: str, capsys: pytest.CaptureFixture) -> None:
    with watched():
        code = main([*command.split(), "--out", "new.safetensors"])
    out, err = capsys.readouterr()
    assert code == 2, err
    last = err.rstrip("\n").splitlines()[-1]
    assert last.startswith(f"l2o {command.split()[0]}: ") and "bombs/" in last
    assert "Traceback" not in out + err and not Path("canary").exists()


def test_a_pickled_record_is_not_delivered(bombs: bytes, capsys: pytest.CaptureFixture) -> None:
    write("results/job/run.json", bombs)
    with watched():
        assert main(["track", "sync", "--results", "results"]) == 1
    assert "results/job/run.json: not valid JSON" in capsys.readouterr().err
    assert not Path("canary").exists()


# Names

NAMES = [
    "x; touch canary",
    "$(touch canary)",
    "`touch canary`",
    "../../etc",
    "/etc/passwd",
    "-rf",
    "a b",
    "a\ntouch canary",
    "a\n",
    "lin\u0435ar",  # with a Cyrillic letter
    "\uff41",  # a fullwidth a
    "a\x1b[2J",
    "a\x00",
    "",
    "x" * 300,
]
hostile = pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))


def named(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key and the changes that bring a name into each place where one stands."""
    recipe, budget = {"optimizer": {"name": "linear"}}, {"environments": 1, "updates": 1}
    ablation = {"question": "?", "recipes": {"linear": "a", "l2lgd2": "b"}}
    sweep = {"recipe": "linear", "table": "config/sweeps/population.tsv"}
    yield "scale", {"scale": name}
    yield "recipes", {"recipes": {name: recipe}}
    yield "toy_tasks", {"toy_tasks": {name: budget}}
    yield "ablations", {"ablations": {name: ablation}}
    yield "recipes", {"ablations": {"new": ablation | {"recipes": {name: "a", "linear": "b"}}}}
    yield "tasks", {"ablations": {"new": ablation | {"tasks": [name]}}}
    yield "factors", {"ablations": {"new": ablation | {"factors": {name: ["linear"]}}}}
    yield "sweeps", {"sweeps": {name: sweep}}
    yield "recipe", {"sweeps": {"new": sweep | {"recipe": name}}}
    yield "pretrained", {"pretrained": {name: {"weights": "w.safetensors"}}}
    yield "variants", {"transfer": {"variants": {name: {}}}}
    yield "variant_tasks", {"transfer": {"variant_tasks": [name]}}
    yield "sources", {"analysis": {"sources": {name: {"task": "catch"}}}}
    yield "task", {"analysis": {"sources": {"new": {"task": name}}}}
    yield "tuning_tasks", {"transfer": {"tuning_tasks": [name]}}
    yield "tasks", {"transfer": {"tasks": [name]}}
    yield "tasks", {"select": {"tasks": [name]}}
    yield "recipe", {"select": {"recipe": name}}
    yield "optimizers", {"baselines": {"optimizers": ["adam", name]}}
    yield "tasks", {"recipe": {"tasks": [{"task": name}]}}


@hostile
def test_names_in_the_configuration(name: str) -> None:
    for key, changes in named(name):
        with pytest.raises(ConfigError) as caught:
            config.build(settings(**changes), ROOT / "config")
        message = str(caught.value)
        assert key in message and message.isprintable(), message


@pytest.mark.parametrize(
    "key", ["recipes", "ablations", "sweeps", "pretrained", "variants", "sources"]
)
def test_good_names_are_taken(key: str) -> None:
    changes = next(changes for found, changes in named("new_1") if found == key)
    assert "new_1" in config.dump(config.build(settings(**changes), ROOT / "config"))


OPTIONS = f"""
evaluate --optimizer adam --learning-rate 0.1 --task
evaluate --task catch --learning-rate 0.1 --optimizer
evaluate --task catch --optimizer adam --learning-rate 0.1 --torso
baselines --config config.json --task
meta-train --config config.json --recipe
transfer --config config.json --selection s --runs r --tuned t --task
transfer --config config.json --selection s --runs r --tuned t --task ant --variant
level --config config.json --where toy --runs r --recipe
level --config config.json --recipe linear --runs r --where
ablate --config config.json --levels l --baselines b --ablation
sweep --config config.json --sweep
sweep --config config.json --sweep meta_learning_rate --row
score-sweep --config config.json --runs r --baselines b --sweep
record --config config.json --source
study --config config.json --recordings r --study
identity --config config.json --recordings r --source
import-weights w.npz --optimizer linear --from
config --config {ROOT}/config/config.yaml --scale
""".strip()


@hostile
def test_names_on_the_command_line(folder: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    for line in OPTIONS.splitlines():
        *words, option = line.split()
        with watched():
            try:
                code = main([*words, f"{option}={name}", "--out", "new"])
            except SystemExit as stop:  # of the parser
                code = stop.code
        out, err = capsys.readouterr()
        assert code == 2, (line, err)
        assert "Traceback" not in out + err
        assert err.startswith("l2o ") and err.rstrip("\n").isprintable(), err
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert left <= {"config.json", "new", "new/run.failed.json"}


@hostile
def test_names_in_the_table_of_a_sweep(folder: Path, name: str) -> None:
    table = {"population": {"table": "rows.tsv"}}
    resolved = config.build(settings(sweeps=table), ROOT / "config")
    refused = 0
    for column, cell in ((name, "1"), ("seed", name), ("optimizer.name", name)):
        with open("rows.tsv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t").writerows([["agents", column], ["2", cell]])
        try:
            (row,) = read_sweep(resolved, "population")
        except ConfigError as error:
            assert "rows.tsv" in str(error) and str(error).isprintable()
            refused += 1
        else:  # one word for the shell, one folder for the file system
            assert set(row.folder) <= set(f"agents~2/optimizer_name~{name}") and "/" not in name
            assert row.folder.split("/")[1] == f"optimizer_name~{name}"
    assert refused >= (2 if name in ("-rf", "x" * 300) else 3)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the workflow in a folder, in which a canary would appear."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    environment = os.environ | {"L2O_INVOCATION": "$(touch canary)"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_names_that_reach_the_workflow(tmp_path: Path) -> None:
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    done = snakemake(tmp_path, "--config", "scale=$(touch canary)")
    assert done.returncode == 2 and "config: scale: unknown scale" in done.stderr
    # The wildcards of a target's name are of anyone's making; no dry run.
    row_each = "sweeps={meta_learning_rate: {one_program: false}}"
    target = "results/smoke/sweeps/meta_learning_rate/a~$(touch canary);touch canary/run.json"
    done = snakemake(tmp_path, target, "--config", "scale=smoke", row_each)
    assert done.returncode == 1 and "unknown row 'a~$(touch canary);touch canary'" in done.stderr
    assert not (tmp_path / "canary").exists()

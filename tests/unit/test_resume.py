import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from l2o.checkpoint import ResumeState

RECIPE = {
    "optimizer": {"name": "linear"},
    "tasks": [{"task": "small_dense_short", "learning_rate": 0.01}],
    "agents": 4,
    "environments": 2,
    "unroll": 2,
    "outer_steps": 12,
    "resets": "staggered",
    "reset_interval": 8,
    "objective": "actor",
    "meta_learning_rate": 0.01,
    "meta_grad_clip": 1.0,
    "log_interval": 2,
    "checkpoint_interval": 4,
}
pytestmark = pytest.mark.slow
STEPS = [2, 4, 6, 8, 10, 12]

# `l2o` that kills itself, as nothing can catch, before or after the call of a function at a step.
KILLED_L2O = """
import os, signal, sys
import l2o.checkpoint, l2o.cli, l2o.meta.train, l2o.runs

where, name, step, *sys.argv[1:] = sys.argv[1:]
owner = {"save": l2o.checkpoint.ResumeState, "log": l2o.runs.Run, "_publish": l2o.meta.train}[name]
original = getattr(owner, name)

def wrapped(*args):
    due = name == "_publish" or args[1] == int(step)
    if due and where == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    original(*args)
    if due:
        os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, wrapped)
sys.exit(l2o.cli.main())
"""


class Workplace:
    """Runs the command line in processes that share compiled programs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        if sys.dont_write_bytecode:  # importing JAX from source takes as long as the run
            self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
            self.environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")

    def train(self, out: str, kill: tuple = (), **changes) -> Path:
        """Run `l2o meta-train`, to its end or until the moment when it is killed."""
        config = self.folder / "recipe.yaml"
        config.write_text(yaml.safe_dump(RECIPE | changes))
        start = ["-c", KILLED_L2O, *kill] if kill else ["-m", "l2o.cli"]
        arguments = ["meta-train", "--config", str(config), "--out", str(self.folder / out)]
        done = subprocess.run(
            [sys.executable, *start, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
        return self.folder / out


def history(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def record(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def assert_same_results(out: Path, expected: Path) -> None:
    checkpoints = sorted(path.name for path in (expected / "checkpoints").iterdir())
    assert checkpoints == [f"step_{step:06d}.safetensors" for step in (0, 4, 8, 12)]
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == checkpoints
    for name in checkpoints:
        whole = (expected / "checkpoints" / name).read_bytes()
        assert (out / "checkpoints" / name).read_bytes() == whole, name
    tables = [pd.read_parquet(folder / "metrics.parquet") for folder in (out, expected)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert history(out) == STEPS and tables[0]["step"].tolist() == STEPS
    assert record(out)["results"] == record(expected)["results"]
    assert not (out / ".state").exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(place):
    """The results of an uninterrupted run."""
    out = place.train("whole")
    assert "resumed_from" not in record(out)
    return out


@pytest.fixture(scope="module")
def killed_once(place, whole):
    """What is left of a run that was killed as soon as it had a checkpoint."""
    out = place.train("killed_once", ("after", "save", "4"))
    assert history(out) == [2, 4]
    assert not (out / "run.json").exists() and not (out / "checkpoints").exists()
    return out


def test_killed_after_a_checkpoint_and_between_two(place, whole, killed_once):
    out = Path(shutil.copytree(killed_once, place.folder / "twice"))
    place.train("twice", ("after", "log", "6"))
    assert history(out) == STEPS[:3]
    # The checkpoint of step 4 is continued from: step 6 was logged, and is done again.
    assert_same_results(place.train("twice"), whole)
    assert record(out)["resumed_from"] == 4


def test_killed_while_a_checkpoint_is_made_and_before_the_end(place, whole):
    out = place.train("late", ("before", "save", "8"))
    assert (out / ".state" / "series" / "0" / "step_000008.safetensors").exists()
    place.train("late", ("before", "_publish", "-"))
    assert history(out) == STEPS
    assert_same_results(place.train("late"), whole)
    assert record(out)["resumed_from"] == 12


def test_killed_before_the_first_checkpoint(place, whole):
    out = place.train("early", ("after", "log", "2"))
    assert history(out) == [2]
    assert_same_results(place.train("early"), whole)
    assert "resumed_from" not in record(out)


ESTIMATORS = {
    "truncated_es": "return",
    "pes": "mean_return",
    "full_es": "lifetime_return",
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_killed_at_moments_with_every_estimator(place, estimator):
    """Ten kills between the four estimators, each at a moment of its own."""
    changes = {
        "estimator": estimator,
        "objective": ESTIMATORS[estimator],
        "sigma": 0.3,
        "reset_interval": 3,
    }
    whole = place.train(f"{estimator}_whole", **changes)
    name = f"{estimator}_killed"
    for kill in (("before", "log", "6"), ("after", "save", "8"), ("before", "log", "12")):
        place.train(name, kill, **changes)
    out = place.train(name, **changes)
    assert_same_results(out, whole)
    assert record(out)["resumed_from"] == 8


def test_the_state_of_another_recipe_is_not_continued(place, whole, killed_once):
    Path(shutil.copytree(killed_once, place.folder / "other"))
    out = place.train("other", reset_interval=4)
    assert "resumed_from" not in record(out)
    assert history(out) == STEPS
    first, last = (f"checkpoints/step_{step:06d}.safetensors" for step in (0, 12))
    assert (out / first).read_bytes() == (whole / first).read_bytes()
    assert (out / last).read_bytes() != (whole / last).read_bytes()


def test_state_that_is_half_removed_is_not_continued(tmp_path, monkeypatch):
    folder, fingerprint = tmp_path / "state", {"seed": 0}
    state = ResumeState(folder, fingerprint)
    state.save(4, {"weights": np.arange(3.0)})
    np.testing.assert_array_equal(state.restore({"weights": np.zeros(3)})["weights"], range(3))
    assert ResumeState(folder, fingerprint).latest == 4
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", raise_interrupt)
        state.discard()
    assert ResumeState(folder, fingerprint).latest is None


def raise_interrupt(*args, **kwargs):
    raise KeyboardInterrupt

"""Meta-training in processes that are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

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
STEPS = [2, 4, 6, 8, 10, 12]

# `l2o` that kills itself, as nothing can catch, before or after the call of a function at a step.
KILLED_L2O = """
import os, signal, sys
import l2o.jobs.resume, l2o.cli, l2o.meta.train, l2o.jobs.record

where, name, step, *sys.argv[1:] = sys.argv[1:]
owners = {"save": l2o.jobs.resume.ResumeState, "log": l2o.jobs.record.Run}
owner = owners.get(name, l2o.meta.train)
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
    """Runs the command line in processes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = dict(os.environ)
        if sys.dont_write_bytecode:  # importing JAX from source takes as long as the run
            self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
            self.environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")

    def command(self, out: str, kill: tuple = (), **changes) -> list[str]:
        """Return the call of `l2o meta-train` of a changed recipe, perhaps one that is killed."""
        config = self.folder / "recipe.yaml"
        config.write_text(yaml.safe_dump(RECIPE | changes))
        start = ["-c", KILLED_L2O, *kill] if kill else ["-m", "l2o.cli"]
        files = ["--config", str(config), "--out", str(self.folder / out)]
        return [sys.executable, *start, "meta-train", *files]

    def train_until(self, seconds: float, out: str, **changes) -> bool:
        """Run `l2o meta-train` and kill it after some time; tell whether that came first."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = self.command(out, **changes)
        with subprocess.Popen(command, env=self.environment, **quiet) as process:
            try:
                assert process.wait(seconds) == 0
                return False
            except subprocess.TimeoutExpired:
                process.kill()
                return True

    def train(self, out: str, kill: tuple = (), **changes) -> Path:
        """Run `l2o meta-train`, to its end or until the moment when it is killed."""
        done = subprocess.run(
            self.command(out, kill, **changes),
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

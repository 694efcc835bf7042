"""Copies of the pipeline in which things go wrong, and processes that are killed."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.drill.verdicts import SkipError

REPOSITORY = Path(__file__).parents[2]
RESULTS = Path("results/smoke")
_TIMEOUT = 1800  # against hanging; machines that are busy take long
_running: set[subprocess.Popen] = set()
_over: list[bool] = []


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    output: str
    seconds: float


class Place:
    """A copy of the workflow with results of its own; copies share code and compiled programs."""

    def __init__(self, folder: Path, code: Path):
        """Make the copy.

        Args:
            folder: Where; created.
            code: Folder with a copy of the package: what the repository holds may be edited
                meanwhile, and checkpoints belong to one version of it.
        """
        self.folder, self.results = folder, folder / RESULTS
        self.environment = environment(code)
        if folder.exists():
            return
        folder.mkdir(parents=True)
        for name in ("workflow", "config", "profiles"):
            shutil.copytree(REPOSITORY / name, folder / name)
        shutil.copy(REPOSITORY / "Snakefile", folder)
        shutil.copy(Path(__file__).with_name("config.yaml"), folder / "config" / "config.yaml")

    def start(
        self, command: list[str], extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process that leads a group of its own."""
        if _over:
            raise SkipError("the drill was ended")
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment | (extra or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _running.add(process)
        return process

    def run(self, command: list[str], extra: Mapping[str, str] | None = None) -> Ended:
        """Run a process to its end."""
        began = time.monotonic()
        process = self.start(command, extra)
        try:
            output, _ = process.communicate(timeout=_TIMEOUT)
        finally:
            kill_all(process)
        return Ended(process.returncode, output, time.monotonic() - began)

    def kill_after(self, seconds: float, command: list[str]) -> bool:
        """Run a process and kill it, and all that it started; tell whether it came to that."""
        process = self.start(command)
        try:
            process.communicate(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            return True
        finally:
            kill_all(process)
            process.communicate()


def wait_for(what: Callable[[], object], process: subprocess.Popen, seconds: float) -> object:
    """Return the first true value, or fail when the process ends or time is over."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert process.poll() is None, f"it has ended: {str(process.communicate())[-800:]}"
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.2)
    return found


def kill_all(process: subprocess.Popen) -> None:
    """Kill a process and everything below it with SIGKILL, at once."""
    below = []
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
    for _ in range(2):  # what it started while we looked is in its group
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for child in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
    _running.discard(process)


def kill_what_is_left() -> None:
    """Kill all processes of the drill that still run, and let no other start."""
    _over.append(True)
    while _running:
        kill_all(next(iter(_running)))


def copy_code(folder: Path) -> Path:
    """Copy the package, so that all of a drill runs the same version of it."""
    ignored = shutil.ignore_patterns("__pycache__")
    if not (folder / "l2o").exists():
        shutil.copytree(REPOSITORY / "l2o", folder / "l2o", ignore=ignored)
    return folder


def environment(code: Path) -> dict[str, str]:
    """Return the environment of all processes of the drill."""
    known = os.environ | {
        "PYTHONPATH": str(code),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Small programs, too: every stage runs many times.
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(code / "jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    # Without bytecode, importing JAX takes as long as a stage.
    for name in ("PYTHONDONTWRITEBYTECODE", "MLFLOW_TRACKING_URI", "L2O_LANES"):
        known.pop(name, None)
    return known


def moments(seed: object) -> random.Random:
    """Return a source of moments, the same for the same seed."""
    return random.Random(str(seed))

"""A job in a process of its own, which is given up where it takes too long or too much memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.config import files
from l2o.errors import ConfigError
from l2o.files import read_json
from l2o.jobs import RECORD

if TYPE_CHECKING:
    from l2o.config.models import Config

LIMIT_VARIABLE = "L2O_REHEARSAL_SECONDS"
"""Environment variable: seconds after which a job at its own sizes is given up."""
SLOW = "took more than"
"""What the problem of a job begins with that was given up for its time, not for its memory."""
_LIMIT = 120.0
_RESERVE = 0.08
"""Share of the machine's memory: when less is left, a job that has a large part is given up."""
_LARGE = 0.25
"""Share of the machine's memory that is a large part."""
_TIMINGS = ("import_s", "compile_s", "total_s")


class Child:
    """Runs one job with various configurations.

    Attributes:
        patience: Seconds, beyond those of the environment, after which a run is given up.
        problem: Why the last run was given up; None if it was not.
    """

    def __init__(self, words: Sequence[str], scratch: Path) -> None:
        """Take the command of the job, and a folder for what is not kept."""
        self._words, self._scratch = list(words), scratch
        self.patience, self._limit = 0.0, _limit()
        self.problem: str | None = None

    def run(
        self, config: Config, out: Path | None = None, endless: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """Run the job.

        Args:
            config: Of this run.
            out: Where results go; by default they are not kept.
            endless: Whether it may take as long as it wants.

        Returns:
            Exit code, and ``import_s``, ``compile_s``, ``total_s`` and ``memory`` in bytes.
        """
        self.problem = None
        shutil.rmtree(self._scratch, ignore_errors=True)
        path = self._scratch / "config.json"
        files.write(config, path)
        out = out or self._scratch / "out"
        options = {"--config": path, "--out": out, "--state": self._scratch / "state"}
        began = time.monotonic()
        words = [sys.executable, "-m", "l2o.cli", *_replaced(self._words, options)]
        code = self.watch(words, None if endless else self._limit + self.patience)
        timings = dict.fromkeys(_TIMINGS, 0.0) | {"total_s": time.monotonic() - began}
        record = out / RECORD
        if code == 0 and record.is_file():
            known = read_json(record)
            timings |= {name: known["timings"][name] for name in _TIMINGS}
            device = known.get("device") or {}
            timings["memory"] = device.get("peak_memory_bytes") or known["peak_memory_bytes"]
        shutil.rmtree(self._scratch, ignore_errors=True)
        return code, timings

    def watch(self, words: Sequence[str], limit: float | None) -> int:
        """Run a command; stop it when it takes too much of the machine. Return its exit code."""
        # Ended by SIGTERM, this process would leave the other one behind.
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        began, process = time.monotonic(), subprocess.Popen(words)
        try:
            while (code := process.poll()) is None:
                if limit is not None and time.monotonic() - began > limit:
                    self.problem = f"{SLOW} {limit:.3g} s"
                elif _takes_too_much(process.pid):
                    self.problem = "took the memory of this machine"
                if self.problem:
                    return 1
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
            signal.signal(signal.SIGTERM, before)
        if code == -signal.SIGKILL:  # by the system, for its memory
            self.problem = "was killed, as it took the memory of this machine"
        return code


def _replaced(words: list[str], options: dict[str, Path]) -> list[str]:
    """Return a command with other values of some options, without ``--expect``."""
    kept: list[str] = []
    pairs = iter(words)
    for word in pairs:
        if word == "--expect":
            next(pairs)
        elif word in options:
            next(pairs)
            kept += [word, str(options[word])]
        else:
            kept.append(word)
    return kept


def _limit() -> float:
    text = os.environ.get(LIMIT_VARIABLE, "") or str(_LIMIT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"{LIMIT_VARIABLE}: must be a positive number; got '{text}'.")
    return seconds


def _takes_too_much(pid: int) -> bool:
    """Whether little memory is left and the process has a large part of it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):  # no Linux, or it just ended
        return False
    sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
    total = sizes["MemTotal"]
    mine = pages * os.sysconf("SC_PAGE_SIZE")
    return sizes["MemAvailable"] < _RESERVE * total and mine > _LARGE * total

"""The files of a job, and those with its metrics over steps: lines of strict JSON, one per step.

A number that is not finite is written as the string ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``,
which ``float()`` turns back.
"""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from l2o.files import write_text

FAILED_RECORD = "run.failed.json"
METRICS = "metrics.jsonl"
SYSTEM = "system.jsonl"


class History:
    """Writes the lines of one file, in the order of the steps.

    Attributes:
        path: The file.
        generation: Counts how often what is in the file was replaced: 0 as long as that is of an
            earlier job. Who reads along begins again when it changes.
    """

    def __init__(self, path: Path) -> None:
        """Describe the file; it is opened with the first line."""
        self.path = path
        self.generation = 0
        self._file: TextIO | None = None
        self._last: int | None = None

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line, which others can read at once.

        Raises:
            ValueError: The step is not later than the last one.
        """
        if self._last is not None and step <= self._last:
            raise ValueError(f"step {step} was logged after step {self._last}: steps must increase")
        if self._file is None:
            self._file = open(self.path, "a" if self.generation else "w", encoding="utf-8")  # noqa: SIM115
            self.generation = self.generation or 1
        line = {"step": step, "time": round(time.time(), 3), "metrics": plain(metrics)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._last = step

    def keep_until(self, step: float) -> int | None:
        """Continue what is in the file, without what is later than ``step``.

        Returns:
            The last step that is left, None if there is none.
        """
        self.close()
        kept = [line for line in _lines(self.path) if line["step"] <= step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.generation += 1
        self._last = kept[-1]["step"] if kept else None
        return self._last

    def close(self) -> None:
        """Close the file; another line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard_stale(self) -> None:
        """Remove the file of an earlier job that this one neither continued nor replaced."""
        if not self.generation:
            self.path.unlink(missing_ok=True)


def read_history(out_dir: str | Path, name: str = METRICS) -> Iterator[dict[str, Any]]:
    """Yield the lines of a job's history: ``step``, ``time`` (Unix seconds), ``metrics`` (floats).

    A history that does not exist is empty; a line cut short by a kill ends it.
    """
    for line in _lines(Path(out_dir) / name):
        yield parse(line)


def parse(line: dict[str, Any]) -> dict[str, Any]:
    """Turn the numbers of a line that was read as JSON into floats."""
    return line | {"metrics": {name: float(value) for name, value in line["metrics"].items()}}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def plain(value: Any) -> Any:
    """Turn a value into what strict JSON holds (numbers that are not finite become strings)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else json.dumps(float(value))
    if value is None or isinstance(value, bool | int | str):
        return value
    # Arrays and scalars of NumPy and JAX.
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)

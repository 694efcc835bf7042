"""The record of one job: what ran, on what, for how long, and what came out.

A job's directory holds ``metrics.jsonl`` while it runs and ends with ``run.json`` or, if the job
raised, ``run.failed.json``. MLflow is filled from these files (see ``l2o.tracking``).

Every file is strict JSON: a number that is not finite is written as the string ``"NaN"``,
``"Infinity"`` or ``"-Infinity"``, which ``float()`` turns back.
"""

import contextlib
import json
import math
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TextIO

from l2o import provenance
from l2o.files import write_json, write_text
from l2o.progress import CompileClock, Progress, process_start

RECORD = "run.json"
FAILED_RECORD = "run.failed.json"
HISTORY = "metrics.jsonl"
INVOCATION_VARIABLE = "L2O_INVOCATION"


class Run:
    """Writes the record of one job; use it as a context manager around the work.

    Example:
        >>> import tempfile
        >>> with Run(tempfile.mkdtemp(), stage="select", config={"lr": 0.1}, seed=0) as run:
        ...     run.log(1, {"return": 0.5})
        ...     run.summary({"best_return": 0.5})
    """

    # The time of a process is shared out among its runs: each begins where the last one ended.
    _accounted_until: ClassVar[float | None] = None

    def __init__(
        self,
        out_dir: str | Path,
        *,
        stage: str,
        config: Mapping[str, Any],
        seed: int | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe the job; nothing is written before the ``with`` block is entered.

        Args:
            out_dir: The directory of the job, one per job.
            stage: The stage of the pipeline.
            config: The resolved configuration.
            seed: The seed that every random key of the job derives from.
            tags: What identifies the job within its stage: recipe, task, scale.
        """
        self.out_dir = Path(out_dir)
        self.stage = stage
        self._history = _History(self.out_dir / HISTORY)
        self._clock = CompileClock()
        self._phases: dict[str, float] = {}
        self._results: dict[str, Any] = {}
        self._progress: Progress | None = None
        self._job = {"stage": stage, "config": config, "seed": seed, "tags": dict(tags or {})}

    def __enter__(self) -> Self:
        self.out_dir.mkdir(parents=True, exist_ok=True)
        for name in (RECORD, FAILED_RECORD):
            (self.out_dir / name).unlink(missing_ok=True)
        accounted = Run._accounted_until
        self._origin = process_start() if accounted is None else accounted
        self._entered = time.monotonic()
        # Read now: the code in the checkout may be edited while the job runs.
        self._job |= {"started": _now()} | provenance.code()
        self._clock.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clock.detach()
        self._ended = Run._accounted_until = time.monotonic()
        if self._progress is not None:
            self._progress.close()
        self._history.close()
        if error is None:
            self._history.discard_stale()
            write_json(self.out_dir / RECORD, self._record("finished"))
            return
        text = "".join(traceback.format_exception(error))
        failure = {"error": f"{type(error).__name__}: {error}", "traceback": text}
        # A full disk must not hide why the job failed.
        with contextlib.suppress(OSError):
            write_json(self.out_dir / FAILED_RECORD, self._record("failed") | failure)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of one step to the history.

        Args:
            step: Later than every step logged so far.
            metrics: Scalars; device arrays are fetched.

        Raises:
            ValueError: The step is not later than the last one.
        """
        self._history.append(step, {name: float(value) for name, value in metrics.items()})

    def resume(self, step: int) -> int | None:
        """Continue the history of a killed job: keep what was logged up to ``step``.

        Without this call the first ``log`` starts a new history.

        Args:
            step: The step of the checkpoint that the job continues from.

        Returns:
            The last step that the history holds, or None if it is empty.
        """
        self._job["resumed_from"] = step
        return self._history.keep_until(step)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the duration of the block to what the record says about phase ``name``."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._phases[name] = self._phases.get(name, 0.0) + time.monotonic() - start

    def summary(self, results: Mapping[str, Any]) -> None:
        """Set summary numbers of the job, shown as ``results`` in its record."""
        self._results.update(results)

    def progress(self, total: int, unit: str = "outer step", start: int = 0) -> Progress:
        """Begin a progress line; it is ended when the run ends.

        Args:
            total: The number of units that complete the work.
            unit: What is counted, in the singular.
            start: What was already done when a resumed job began.
        """
        if self._progress is not None:
            self._progress.close()
        self._progress = Progress(self.stage, total, unit, start)
        return self._progress

    def _record(self, status: str) -> dict[str, Any]:
        record = self._job | {
            "status": status,
            "ended": _now(),
            "timings": self._timings(),
            "phases": {name: round(seconds, 3) for name, seconds in self._phases.items()},
            "results": self._results,
            "invocation": os.environ.get(INVOCATION_VARIABLE),
        }
        return plain(record | provenance.machine())

    def _timings(self) -> dict[str, float]:
        imports, compiling = self._entered - self._origin, self._clock.seconds
        total = self._ended - self._origin
        timings = {
            "import_s": imports,
            "compile_s": compiling,
            "run_s": total - imports - compiling,
            "total_s": total,
        }
        return {name: round(seconds, 3) for name, seconds in timings.items()}


class _History:
    """The lines of ``metrics.jsonl``, one per step, in the order of the steps."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._last: int | None = None
        self._started = False

    def append(self, step: int, metrics: dict[str, float]) -> None:
        if self._last is not None and step <= self._last:
            raise ValueError(f"step {step} was logged after step {self._last}: steps must increase")
        if self._file is None:
            self._file = open(self._path, "a" if self._started else "w", encoding="utf-8")  # noqa: SIM115
            self._started = True
        line = {"step": step, "time": round(time.time(), 3), "metrics": plain(metrics)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._last = step

    def keep_until(self, step: int) -> int | None:
        self.close()
        kept = [line for line in _history_lines(self._path) if line["step"] <= step]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._started = True
        self._last = kept[-1]["step"] if kept else None
        return self._last

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard_stale(self) -> None:
        """Remove the history of an earlier job that this one neither continued nor replaced."""
        if not self._started:
            self._path.unlink(missing_ok=True)


def read_history(out_dir: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a job's history: ``step``, ``time`` (Unix seconds), ``metrics`` (floats).

    A history that does not exist is empty; a line cut short by a kill ends it.
    """
    for line in _history_lines(Path(out_dir) / HISTORY):
        yield line | {"metrics": {name: float(v) for name, v in line["metrics"].items()}}


def _history_lines(path: Path) -> Iterator[dict[str, Any]]:
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


def _now() -> str:
    return datetime.now(UTC).isoformat()

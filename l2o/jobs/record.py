"""The record of one job: what ran, on what, for how long, and what came out.

A job's directory holds ``metrics.jsonl`` while it runs and ends with ``run.json`` or, if the job
raised, ``run.failed.json``. MLflow is filled from these files: after the job or, on a server, while
it runs (see ``l2o.tracking``).

Every file is strict JSON (see ``l2o.jobs.history``).
"""

import contextlib
import hashlib
import json
import os
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from l2o.errors import ResultsError
from l2o.files import read_json, write_json
from l2o.jobs import RECORD, provenance
from l2o.jobs.history import FAILED_RECORD, METRICS, History, plain
from l2o.jobs.interrupts import Interrupted
from l2o.jobs.progress import CompileClock, Progress, process_start
from l2o.jobs.system_metrics import SystemMetrics
from l2o.redaction import redact

INVOCATION_VARIABLE = "L2O_INVOCATION"
# Exists while a job runs, and after a kill: a job that is the same goes on under the same identity.
_OPEN = ".open.json"


class Follower(Protocol):
    """Shows a job elsewhere while it runs, see :mod:`l2o.tracking.live`."""

    def stop(self, status: str) -> None:
        """Show the rest, and that the job ended: ``FINISHED``, ``FAILED`` or ``SCHEDULED``."""


class Run:
    """Writes the record of one job; use it as a context manager around the work.

    Example:
        >>> import tempfile
        >>> with Run(tempfile.mkdtemp(), stage="select", config={"lr": 0.1}, seed=0) as run:
        ...     run.log(1, {"return": 0.5})
        ...     run.summary({"best_return": 0.5})
    """

    # Called with the folder, the record and both histories of each job that begins.
    follow: ClassVar[Callable[[Path, dict, History, History], "Follower | None"] | None] = None
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
        self._history = History(self.out_dir / METRICS)
        self._system = SystemMetrics(self.out_dir)
        self._follower: Follower | None = None
        self._clock = CompileClock()
        self._phases: dict[str, float] = {}
        self._results: dict[str, Any] = {}
        self._progress: Progress | None = None
        self._job = {"stage": stage, "config": config, "seed": seed, "tags": dict(tags or {})}

    def __enter__(self) -> Self:
        self.out_dir.mkdir(parents=True, exist_ok=True)
        goes_on = self._open()
        for name in (RECORD, FAILED_RECORD):
            (self.out_dir / name).unlink(missing_ok=True)
        accounted = Run._accounted_until
        self._origin = process_start() if accounted is None else accounted
        self._entered = time.monotonic()
        # Read now: the code in the checkout may be edited while the job runs.
        self._job |= {"started": _now()} | provenance.code()
        self._clock.attach()
        self._system.start(goes_on)
        self._follower = self._follow()
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
        self._system.stop()
        self._end(error)
        if self._follower is not None:
            status = "FINISHED" if error is None else "FAILED"
            self._follower.stop("SCHEDULED" if isinstance(error, Interrupted) else status)

    def _end(self, error: BaseException | None) -> None:
        """Write the record of a job that ended."""
        if isinstance(error, Interrupted):
            return  # neither finished nor failed: it goes on another time
        # Removed first: who finds both may not take a job that ended for one that was killed.
        (self.out_dir / _OPEN).unlink(missing_ok=True)
        if error is None:
            self._history.discard_stale()
            write_json(self.out_dir / RECORD, self._record("finished"))
            return
        text = "".join(traceback.format_exception(error))
        error_text = f"{type(error).__name__}: {error}"
        failure = {"error": redact(error_text), "traceback": redact(text)}
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
        self._clock.attach()  # again: JAX may have been imported meanwhile
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
        self._clock.attach()
        if self._progress is not None:
            self._progress.close()
        self._progress = Progress(self.stage, total, unit, start)
        return self._progress

    def _open(self) -> bool:
        """Take an identity: that of the same job if it was killed here, and else a new one.

        Returns:
            Whether this goes on with what was killed.
        """
        text = json.dumps(plain(self._job), sort_keys=True)
        note = {"run_key": uuid.uuid4().hex, "job": hashlib.sha256(text.encode()).hexdigest()}
        path = self.out_dir / _OPEN
        killed: Any = {}
        with contextlib.suppress(ResultsError):
            killed = read_json(path)
        goes_on = isinstance(killed, dict) and killed.get("job") == note["job"]
        if goes_on:
            note = killed
        write_json(path, note)
        self._job["run_key"] = note["run_key"]
        return goes_on

    def _follow(self) -> "Follower | None":
        """Show the job elsewhere while it runs, if somebody wants to."""
        if Run.follow is None:
            return None
        record = plain(self._job | {"invocation": os.environ.get(INVOCATION_VARIABLE)})
        return Run.follow(self.out_dir, record, self._history, self._system.history)

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


def _now() -> str:
    return datetime.now(UTC).isoformat()

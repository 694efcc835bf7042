"""How far a job is and where its time goes: the progress line, compile time, process age."""

import os
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

_IMPORTED = time.monotonic()

# Retrieval from the persistent cache happens inside the backend compile event.
_COMPILE_EVENTS = frozenset(
    {
        "/jax/core/compile/jaxpr_trace_duration",
        "/jax/core/compile/jaxpr_to_mlir_module_duration",
        "/jax/core/compile/backend_compile_duration",
    }
)


def process_start() -> float:
    """Return when this process started, on the clock of ``time.monotonic``.

    Where the operating system does not tell, this is when the module was imported. The same holds
    for a process more than an hour older than that: a notebook, not a job that is starting.
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot
    except (OSError, AttributeError, ValueError, IndexError):
        return _IMPORTED
    start = time.monotonic() - age
    return start if 0 <= _IMPORTED - start < 3600 else _IMPORTED


class CompileClock:
    """Seconds that JAX spent tracing, lowering, compiling and loading compiled programs.

    Tracing one function may compile others, and threads may compile at the same time, so the
    events overlap: what counts is the time covered by at least one of them.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._lock = threading.Lock()
        self._attached = False

    @property
    def seconds(self) -> float:
        """The time covered so far."""
        return sum(end - start for start, end in self._spans)

    def attach(self) -> None:
        """Start to listen, unless JAX has not been imported."""
        if "jax" in sys.modules and not self._attached:
            import jax.monitoring

            jax.monitoring.register_event_duration_secs_listener(self._on_event)
            self._attached = True

    def detach(self) -> None:
        """Stop listening."""
        if self._attached:
            import jax.monitoring

            jax.monitoring.unregister_event_duration_listener(self._on_event)
            self._attached = False

    def _on_event(self, event: str, duration: float, **_: Any) -> None:
        if event in _COMPILE_EVENTS:
            end = time.monotonic()
            self.add(end - duration, end)

    def add(self, start: float, end: float) -> None:
        """Count the span from ``start`` to ``end``; spans arrive in the order of their ends."""
        with self._lock:
            while self._spans and self._spans[-1][1] > start:
                start = min(start, self._spans.pop()[0])
            self._spans.append((start, end))


class Progress:
    """One line on standard error: stage, done, percent, speed, time left, score.

    A terminal shows one line that is rewritten; a log file gets a line every few seconds. The
    last state is always shown.
    """

    # Seconds between two lines in a log file, between two redraws on a terminal, and the stretch
    # over which the speed is measured: short enough to forget the compilation of the first step.
    _LOG_INTERVAL = 5.0
    _REDRAW_INTERVAL = 0.1
    _WINDOW = 30.0

    def __init__(self, stage: str, total: int, unit: str = "step", start: int = 0) -> None:
        """Describe the work.

        Args:
            stage: What the line begins with.
            total: The number of units that complete the work.
            unit: What is counted, in the singular.
            start: What was already done when a resumed job began.
        """
        self._stage, self._total, self._unit = stage, total, unit
        self._samples: deque[tuple[float, int]] = deque()
        self._drawn_at = float("-inf")
        self._pending: tuple[int, str] | None = None
        self._line_open = False
        if start:
            self._write(f"{stage}: continuing after {unit} {start} of {total}", last=True)

    def update(self, done: int, score: float | None = None, label: str = "score") -> None:
        """Say that ``done`` units are complete, counted from the very start of the work."""
        text = "" if score is None else f"  {label} {float(score):.4g}"
        self._pending = (done, text)
        interval = self._REDRAW_INTERVAL if _is_terminal() else self._LOG_INTERVAL
        now = time.monotonic()
        if not self._samples:
            self._samples.append((now, done))
        if done >= self._total or now - self._drawn_at >= interval:
            self._draw(now)

    def close(self) -> None:
        """Show a state that was held back and end the line."""
        if self._pending is not None:
            self._draw(time.monotonic())
        if self._line_open:
            print(file=sys.stderr, flush=True)
            self._line_open = False

    def _draw(self, now: float) -> None:
        assert self._pending is not None
        done, score = self._pending
        self._pending, self._drawn_at = None, now
        speed = self._speed(now, done)
        percent = 100 * done // max(self._total, 1)
        line = f"{self._stage}: {done}/{self._total} {self._unit}s  {percent}%"
        if speed:
            line += f"  {speed:.3g}/s  {format_seconds((self._total - done) / speed)} left"
        self._write(line + score, last=done >= self._total)

    def _speed(self, now: float, done: int) -> float:
        if self._samples[-1][1] != done:
            self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] > self._WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (done - before) / (now - then) if now > then else 0.0

    def _write(self, line: str, last: bool) -> None:
        if _is_terminal():
            print(f"\r{line}\x1b[K", end="\n" if last else "", file=sys.stderr, flush=True)
            self._line_open = not last
        else:
            print(line, file=sys.stderr, flush=True)


def format_seconds(seconds: float) -> str:
    """Write a duration for people: ``42s``, ``4m18s``, ``3h05m``, ``2d01h``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()

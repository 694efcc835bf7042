"""What a check found, and the table of all of them."""

import functools
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple


class Verdict(NamedTuple):
    """The outcome of one fault."""

    fault: str
    seen: str
    ok: bool | None  # none: it could not be tried here


class SkipError(Exception):
    """A fault cannot be made here; the message says why."""


def check(fault: str) -> Callable:
    """Make a function that returns what it saw, and raises AssertionError otherwise, a check."""

    def wrap(function: Callable[..., str]) -> Callable[..., Verdict]:
        @functools.wraps(function)
        def run(*args: object) -> Verdict:
            began = time.monotonic()
            name = run.fault.format(*args)
            try:
                verdict = Verdict(name, function(*args), True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                verdict = Verdict(name, str(error) or "assertion failed", False)
            except SkipError as reason:
                verdict = Verdict(name, f"skipped: {reason}", None)
            print(f"{time.monotonic() - began:4.0f} s  {_line(verdict)}", flush=True)
            return verdict

        run.fault = fault
        return run

    return wrap


def _line(verdict: Verdict) -> str:
    word = {True: "ok", False: "FAILED", None: "skipped"}[verdict.ok]
    return f"{word:<8} {verdict.fault:<44} {verdict.seen}"


def table(verdicts: list[Verdict]) -> str:
    """Return the table as text, a line for each fault."""
    return "\n".join(_line(verdict) for verdict in verdicts)

"""Standard streams that may be closed, full, of another encoding, or have lost their reader."""

import contextlib
import io
import os
import select
import signal
import sys

READER_GONE = 128 + signal.SIGPIPE
"""141, the exit code of a program that writes to a pipe that nobody reads any more."""
_NAMES = ("stdin", "stdout", "stderr")


def open_streams() -> None:
    """Make sure that all three are open, and that any text can be printed.

    Where one is closed (``>&-``), the next file that is opened would get its number, and what
    libraries print would be written into that file.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, this one
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Names from outside may hold what the encoding of a terminal has not.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def is_reader_gone() -> bool:
    """Whether nobody reads any more what is printed: ``l2o list tasks | head -1``."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # not a real file
            poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def finish_output() -> OSError | None:
    """Print what is left to print.

    Returns:
        Why that failed; what is left is then lost, or it would fail again when the process ends.
    """
    problem = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            problem = problem or error
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), stream.fileno())
                stream.flush()
    return problem

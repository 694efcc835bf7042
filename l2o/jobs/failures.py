"""What the machine lacks, in one line: space, permission, memory, a device. Imports no jax."""

import contextlib
import errno
import os
import re
from argparse import Namespace
from collections.abc import Iterator

from l2o.errors import OutOfMemoryError
from l2o.jobs.accelerators import jax_problem

_STORAGE = {
    errno.ENOSPC: "the disk is full; make space and run again",
    errno.EDQUOT: "the disk quota is used up; make space and run again",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EEXIST: "a file of that name is in the way",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open at once on this machine",
}
# Said without a number that tells.
_LIMITS = {
    "can't start new thread": "no more threads may be started; raise the limit (ulimit -u)",
    "No usable temporary directory": "no folder for temporary files can be written; set TMPDIR",
    "Matplotlib requires access": "no folder for temporary files can be written; set TMPDIR",
}
_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}


def explain(error: Exception, args: Namespace) -> str | None:
    """Say in one line what the machine lacked, or return None for any other error.

    Args:
        error: What a stage raised.
        args: Its command line; ``out`` and ``state`` are where it writes.
    """
    if is_out_of_memory(error):
        return f"{out_of_memory(error)}. See docs/faults.md."
    if (problem := jax_problem(error) or _limit(error)) is not None:
        return problem
    problem = _storage_problem(error)
    if problem is None:
        return None
    if named := getattr(error, "filename", None):
        return f"{named}: {problem}."
    places = [place for name in ("out", "state") if (place := getattr(args, name, None))]
    where = f"below {' or below '.join(map(str, places))}" if places else "standard output"
    return f"{where}: {problem}."


def _limit(error: Exception) -> str | None:
    if not isinstance(error, OSError | RuntimeError):
        return None
    if isinstance(error, FileNotFoundError) and _is_folder_gone():
        return "the working directory is gone; change to another one and run again."
    said = (f"{problem}." for words, problem in _LIMITS.items() if words in str(error))
    return next(said, None)


def _is_folder_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _storage_problem(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.errno in _STORAGE:
        return _STORAGE[error.errno]
    # Libraries raise other errors, with the system's words in them.
    text = str(error)
    found = (problem for code, problem in _STORAGE.items() if os.strerror(code) in text)
    return next(found, None) if isinstance(error, OSError | ValueError | RuntimeError) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or XLA, on a CPU or an accelerator, could not get the memory it asked for."""
    if isinstance(error, MemoryError):
        return True
    said = str(error)
    exhausted = "RESOURCE_EXHAUSTED" in said and os.strerror(errno.ENOSPC) not in said
    return isinstance(error, RuntimeError) and (exhausted or "Out of memory" in said)


def out_of_memory(error: BaseException) -> str:
    """Return "out of memory", and how much was asked for where the error tells."""
    said = str(error)
    if found := re.search(r"allocat\w* ([\d.]+) ?bytes", said, re.IGNORECASE):
        size = float(found[1]) / 2**30
    elif found := re.search(r"allocat\w* ([\d.]+) ?([KMGTP])i?B", said, re.IGNORECASE):
        size = float(found[1]) * 2.0 ** (_UNITS[found[2].upper()] - 30)
    else:
        return "out of memory"
    return f"out of memory ({size:.3g} GiB asked for at once)"


@contextlib.contextmanager
def advising(*advice: str) -> Iterator[None]:
    """Turn running out of memory into an error that says what to do about it.

    Args:
        *advice: What to do, one way each; without any the error stays as it is.

    Raises:
        OutOfMemoryError: The block ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not advice or not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"{out_of_memory(error)}: {', or '.join(advice)}.") from None


def lower(key: str, value: int, step: int = 1) -> list[str]:
    """Return the advice to halve a setting, in multiples of ``step``; none if it is the least."""
    half = max(value // 2 // step * step, step)
    return [f"try {key} {half} instead of {value}"] if half < value else []

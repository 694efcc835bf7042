"""One process at a time in a folder."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from l2o.errors import BusyError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = "lock"
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_held: dict[Path, int] = {}


def hold(folder: Path) -> None:
    """Keep other processes out of a folder until this one ends or calls :func:`release`.

    A killed process leaves the file behind, but not the lock on it. Where the file system knows no
    locks there is none.

    Args:
        folder: Created if missing.

    Raises:
        BusyError: Another process is at work there.
    """
    folder = folder.absolute()
    if fcntl is None or folder in _held:
        return
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno in _UNSUPPORTED:
                return
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BusyError(
                    f"{folder}: another process is at work here; wait for it, or end it and run "
                    "again."
                ) from None
            raise
        if _is_current(file, folder / LOCK):
            _held[folder] = file
            return
        os.close(file)  # its owner removed the folder while we waited


def release(folder: Path) -> None:
    """Let others in."""
    file = _held.pop(folder.absolute(), None)
    if file is not None:
        os.close(file)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait for other processes in the same block, then keep them waiting.

    Args:
        path: A file that all of them name.
    """
    with open(path, "w", encoding="utf-8") as file:
        # Some network file systems have no locks; then the user has to take care.
        with contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_current(file: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False

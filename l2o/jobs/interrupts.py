"""An orderly end when the machine is taken away: SIGTERM, a checkpoint, then the exit.

Clusters send SIGTERM before they pre-empt a job, requeue it, or end it at its time limit, and
SIGKILL some seconds later. Work that can be resumed puts the signal off until its next checkpoint;
everything else ends at once, as it would without this module.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = os.EX_TEMPFAIL
"""75, "try again later": a scheduler may requeue on it (Slurm: ``RequeueExit=75``)."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The work stopped at a checkpoint because it was told to; the message says where."""


class Stop:
    """Whether the work was told to stop."""

    def __init__(self) -> None:
        self.requested = False

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        # A second signal means it: no more waiting for the checkpoint.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.write(2, b"SIGTERM: stopping at the next checkpoint\n")


def end_at_once() -> None:
    """Let SIGTERM end this process, also where its parent ignores the signal.

    The shells of the workflow do, so that a job's log is complete: see ``common.smk``.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def postponed(can_resume: bool = True) -> Iterator[Stop]:
    """Put SIGTERM off while the block runs; the block looks at ``requested`` after each step.

    A block that finds it set saves its state and raises :class:`Interrupted`. One that has nothing
    left to do may as well finish.

    Args:
        can_resume: Whether the block has where to save; without, SIGTERM acts as ever.
    """
    stop = Stop()
    # Only the main thread may set handlers.
    if not can_resume or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop._request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)

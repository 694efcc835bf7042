"""Resume state of a killed job: orbax checkpoints that belong to one exact configuration."""

import contextlib
import errno
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from l2o.errors import CheckpointError, ResultsError
from l2o.files import AGAIN, read_json, sha256, write_json
from l2o.jobs.locks import LOCK, hold, release
from l2o.jobs.processes import is_writer, wait_for_all

Tree = Any
_SUMS = "sha256.json"
_LONG, _SHARE = 1.0, 0.05
"""Checkpoints that take longer than so many seconds are made less often: they may take this share
of a job's time. The state of a large population is gigabytes."""
_SPARE = 2**17
"""Bytes that a checkpoint takes besides its arrays, rounded up."""


class ResumeState:
    """The newest checkpoints of one job, in a folder outside its declared outputs.

    Snakemake deletes the outputs of a failed job, so that what a job resumes from must be
    elsewhere. A folder made with another configuration is emptied, never resumed from; one in which
    another process is at work is refused. Every checkpoint has the digests of its files, and of
    those in ``series`` that go with it: one that has changed since is put aside.
    """

    def __init__(self, folder: str | Path, fingerprint: dict[str, Any]):
        """Open or create the folder.

        Args:
            folder: Where the checkpoints are.
            fingerprint: Everything that the state depends on, JSON values.

        Raises:
            BusyError: Another process is at work there.
            CheckpointError: The folder holds what no run of ours left there.
        """
        self.folder = Path(folder).absolute()
        if is_writer():
            self._refuse_foreign()
            hold(self.folder)
            self._claim(fingerprint)
            self._put_damaged_aside()
        wait_for_all("resume")
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._states, options=options)
        self._next = time.monotonic()

    @property
    def _states(self) -> Path:
        return self.folder / "state"

    def _claim(self, fingerprint: dict[str, Any]) -> None:
        """Empty the folder if it is another configuration's."""
        mark = self.folder / "fingerprint.json"
        if not mark.is_file() or read_json(mark) != fingerprint:
            for name in ("fingerprint.json", "state", "series", "damaged"):
                _remove(self.folder / name)
            write_json(mark, fingerprint)

    def _refuse_foreign(self) -> None:
        """Raise if the folder, which may be emptied, holds what no run of ours left there."""
        own = {"fingerprint.json", "state", "series", "damaged", LOCK}
        names = {path.name for path in self.folder.glob("*") if not path.name.startswith(".")}
        if foreign := sorted(names - own):
            raise CheckpointError(
                f"{self.folder}: not a folder to resume from; it holds {', '.join(foreign[:3])}."
            )

    def _put_damaged_aside(self) -> None:
        """Move away checkpoints that have changed since they were written, and say so."""
        steps = sorted(int(path.name) for path in self._states.glob("*") if path.name.isdigit())
        while steps and (damage := self._damage(steps[-1])):
            step, aside = steps.pop(), self.folder / "damaged"
            _remove(aside / str(step))
            aside.mkdir(exist_ok=True)
            (self._states / str(step)).rename(aside / str(step))
            then = f"continuing from that of step {steps[-1]}" if steps else "starting again"
            print(
                f"resume: the checkpoint of step {step} is damaged ({damage}); {then}. "
                f"It is now in {aside}.",
                file=sys.stderr,
            )
        # What a series has beyond the checkpoint is made again.
        wanted = self._sums(steps[-1]) if steps else {}
        for path in self.folder.glob("series/**/*"):
            if wanted is not None and path.is_file() and self._name(path) not in wanted:
                path.unlink()

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _sums(self, step: int) -> dict[str, str] | None:
        """Return the digests of a checkpoint and of what goes with it, by path.

        None if the job was killed before it wrote them: the checkpoint is complete.
        """
        path = self._states / str(step) / _SUMS
        return read_json(path) if path.is_file() else None

    def _damage(self, step: int) -> str | None:
        """Say how a checkpoint differs from what was written, if it does."""
        try:
            wanted = self._sums(step) or {}
            for name, digest in wanted.items():
                if sha256(self.folder / name) != digest:
                    return f"{name} has changed"
        except FileNotFoundError:
            return f"{name} is missing"
        except (ResultsError, AttributeError):
            return f"{_SUMS} has changed"
        return None

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or none."""
        return self._manager.latest_step()

    @property
    def is_affordable(self) -> bool:
        """Whether the last checkpoint, if it took long, was long enough ago for another one."""
        return time.monotonic() >= self._next

    def save(self, step: int, state: Tree) -> None:
        """Write a checkpoint; it counts only once it is complete.

        Raises:
            OSError: The disk is full.
        """
        path, began = self._states / str(step), time.monotonic()
        # Orbax's threads leave traces of their own on a full disk: better not to begin.
        needed = sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(state)) + _SPARE
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        with _one_error(path):
            self._manager.save(step, args=ocp.args.StandardSave(state))
        if is_writer():
            own = self._states / str(step)
            files = [*own.rglob("*"), *self.folder.glob("series/**/*")]
            sums = {self._name(path): sha256(path) for path in files if path.is_file()}
            write_json(own / _SUMS, sums)
        took = time.monotonic() - began
        self._next = began + took / _SHARE if took > _LONG else began

    def restore(self, like: Tree) -> Tree:
        """Read the newest checkpoint, with the structure, shapes and dtypes of ``like``.

        Raises:
            CheckpointError: It cannot be read.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(self.latest, args=ocp.args.StandardRestore(abstract))
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise CheckpointError(
                f"{self._states / str(self.latest)}: not a complete checkpoint "
                f"({' '.join(str(error).split())[:200]}); {AGAIN}."
            ) from None

    def discard(self) -> None:
        """Remove the folder: the job is done."""
        self._manager.close()
        if not is_writer():
            return
        # First what makes it resumable: half a folder must not be resumed from.
        (self.folder / "fingerprint.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        release(self.folder)


@contextlib.contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Turn a full disk into the usual error: orbax raises another, and logs it with its trace."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except ValueError as error:
        for code in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code), str(path)) from None
        raise
    finally:
        log.setLevel(level)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

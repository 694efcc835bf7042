"""What a killed evaluation continues from."""

import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from l2o.jobs.locks import release
from l2o.jobs.resume import ResumeState

Tree = Any

SAVE_INTERVAL_S = 60.0
"""Seconds of work that a kill may cost, and the running update."""


class Resume:
    """The folder of one job; every batch of agents has a folder of its own in it."""

    def __init__(self, folder: str | Path, fingerprint: Any):
        """Name the folder; nothing is written yet.

        Args:
            folder: Outside of the job's outputs, which Snakemake deletes when the job fails.
            fingerprint: Everything that the results depend on, JSON values.
        """
        self._folder, self._fingerprint = Path(folder), fingerprint
        self._batches: list[BatchState] = []

    def part(self, name: str) -> "Resume":
        """Return the sub-folder of a part of the job, discarded with the whole."""
        part = Resume(self._folder / name, self._fingerprint)
        part._batches = self._batches
        return part

    def batch(self, name: str, identity: Any) -> "BatchState":
        """Return the state of one batch.

        Args:
            name: Of its folder.
            identity: What tells this batch from others of that name, JSON values.
        """
        fingerprint = {"job": self._fingerprint, "batch": [name, *map(str, identity)]}
        self._batches.append(BatchState(ResumeState(self._folder / name, fingerprint)))
        return self._batches[-1]

    def discard(self) -> None:
        """Remove everything: the job is done."""
        for batch in self._batches:
            batch.discard()
        shutil.rmtree(self._folder, ignore_errors=True)
        release(self._folder)


class BatchState:
    """The newest state of one batch of agents, and what they have returned so far."""

    def __init__(self, state: ResumeState):
        self._state = state
        self._saved = time.monotonic()

    def restore(self, agents: Tree, measured: dict[str, np.ndarray]) -> tuple[int, Tree, dict]:
        """Return the updates done, the agents, and the measurements.

        Args:
            agents: New agents: the structure of what was saved, and the result if nothing was.
            measured: Measurements ``[points, lanes]``, empty.
        """
        updates = self._state.latest
        if updates is None:
            return 0, agents, measured
        restored = self._state.restore({"agents": _raw(agents), "measured": measured})
        # Copied: what is restored may be read-only.
        found = {name: np.array(value) for name, value in restored["measured"].items()}
        return updates, jax.tree.map(_typed, agents, restored["agents"]), found

    @property
    def is_due(self) -> bool:
        """Whether the last time is long enough ago to write again."""
        long_ago = time.monotonic() - self._saved >= SAVE_INTERVAL_S
        return long_ago and self._state.is_affordable

    def save(
        self, updates: int, agents: Tree, measured: dict[str, np.ndarray], at_once: bool = False
    ) -> None:
        """Write the state if that is due, or if there is no other chance.

        Args:
            updates: Updates done.
            agents: The agents.
            measured: Measurements ``[points, lanes]``.
            at_once: Whether it cannot wait: the batch is done, or the job has to stop.
        """
        if at_once or self.is_due:
            self._state.save(updates, {"agents": _raw(agents), "measured": measured})
            self._saved = time.monotonic()

    def discard(self) -> None:
        """Remove the batch's folder."""
        self._state.discard()


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(tree: Tree) -> Tree:
    """Return a tree whose random keys are plain integers."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _typed(like: jax.Array, leaf: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(leaf) if _is_key(like) else leaf

"""Evaluate: train fresh agents with fixed optimizers and record learning curves.

The one primitive behind baselines, checkpoint selection, transfer and ablations.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from l2o.evaluation.candidates import Candidate, Family, Program, families
from l2o.evaluation.memory import less_memory, most_lanes
from l2o.jobs.failures import advising
from l2o.jobs.interrupts import Interrupted, postponed
from l2o.jobs.progress import Progress
from l2o.jobs.record import Run
from l2o.seeding import key_for

if TYPE_CHECKING:  # imports orbax, which most jobs do without
    from l2o.evaluation.resume import BatchState, Resume

Tree = Any
_MEASURED = ("return", "episodes", "seconds", "peak_bytes")
"""Of every point and lane; saved with the agents, so that a kill loses none of it."""


class Lifetime(Protocol):
    """How agents of one kind are trained; hashable, methods are pure."""

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one agent update."""

    def init(self, program: Program, values: Tree, keys: jax.Array, updates: int) -> Tree:
        """Return new agents, one per lane, that will be trained for so many updates."""

    def advance(
        self,
        program: Program,
        values: Tree,
        state: Tree,
        updates: int,
        pause: Callable[[], bool] | None = None,
    ) -> tuple:
        """Train for some updates; return the agents and measurements ``[lanes]``.

        These are ``return``, ``episodes``, and ``peak_bytes`` if an agent's memory is known. They
        are None if the lifetime could not be finished because ``pause`` said so between two
        updates; ``state.update`` then tells how far it came.
        """


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long agents are trained.

    Attributes:
        updates: Agent updates of a lifetime.
        points: Points of a learning curve; each covers ``updates / points`` updates.
        lanes: Agents trained side by side; more are done in turn. Bounds memory, and being the
            same everywhere lets one compiled program serve every job on a task. Eight fill a
            CPU core; by default an accelerator gets more.
    """

    updates: int
    points: int = 20
    lanes: int = dataclasses.field(default_factory=lambda: most_lanes(8 if _on_cpu() else 128))

    @property
    def every(self) -> int:
        """Updates per point."""
        return -(-self.updates // self.points)


class Timing(NamedTuple):
    """What one point of a learning curve took: time, and memory per agent (NaN: not known)."""

    program: Program
    lanes: int
    seconds: float
    peak_bytes: float


class _Batch(NamedTuple):
    """Agents trained side by side: (candidate or -1, seed, values) of each."""

    program: Program
    lanes: list[tuple]


def evaluate(
    task: str,
    lifetime: Lifetime,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    budget: Budget,
    on_progress: Callable[[int, int, float], None] | None = None,
    resume: "Resume | None" = None,
    timings: list[Timing] | None = None,
) -> pd.DataFrame:
    """Train agents with every candidate and seed.

    A seed stands for the same initial agent and the same environments whatever the optimizer.

    Args:
        task: Name of the task, for the table and the random keys.
        lifetime: How its agents are trained.
        candidates: The optimizers.
        seeds: Seeds of the agents.
        budget: How long.
        on_progress: Called with points done, points in all, and the mean return of the last point.
        resume: What a killed job continues from; by default it starts again.
        timings: Gets what every point took, also those of before a kill.

    Returns:
        Learning curves, one row per candidate, seed and point; see
        :data:`l2o.statistics.columns.evaluation.CURVE_COLUMNS`.
    """
    batches = [
        _Batch(family.program, lanes)
        for family in families(candidates)
        for lanes in _batches(family, seeds, budget.lanes)
    ]
    frames, total = [], len(batches) * budget.points
    for number, batch in enumerate(batches):

        def show(point: int, score: float, done: int = number * budget.points) -> None:
            if on_progress:
                on_progress(done + point, total, score)

        lanes = [
            (candidates[i].label, candidates[i].learning_rate, s)
            for i, s, _ in batch.lanes
            if i >= 0
        ]
        store = resume.batch(f"{task}_{number}", [budget, *lanes]) if resume else None
        with advising(*less_memory(task, lifetime, len(batch.lanes))):
            measured = _train(task, lifetime, batch, budget, show, store)
        if timings is not None:
            timings += _timings(batch, measured)
        frames.append(_rows(task, lifetime, candidates, batch.lanes, budget, measured))
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values(["optimizer", "learning_rate", "seed", "update"], ignore_index=True)


def _train(
    task: str,
    lifetime: Lifetime,
    batch: "_Batch",
    budget: Budget,
    show: Callable[[int, float], None],
    store: "BatchState | None",
) -> dict[str, np.ndarray]:
    """Train one batch of agents; return what was measured, ``[points, lanes]``."""
    keys = jnp.stack([key_for(seed, "evaluate", task) for _, seed, _ in batch.lanes])
    values = jax.tree.map(lambda *leaves: np.stack(leaves), *(value for *_, value in batch.lanes))
    state = lifetime.init(batch.program, values, keys, budget.points * budget.every)
    jax.block_until_ready(state)  # on a CPU, work on what did not fit memory never ends
    empty = np.full((budget.points, len(batch.lanes)), np.nan, np.float32)
    measured = {name: empty.copy() for name in _MEASURED} | {"seconds": np.zeros_like(empty)}
    done, total = 0, budget.points * budget.every
    if store is not None:
        done, state, measured = store.restore(state, measured)
    with postponed(store is not None) as stop:
        pause = None if store is None else lambda: stop.requested or store.is_due
        while done < total:
            point, start = done // budget.every, time.monotonic()
            left = budget.every - done % budget.every
            state, now = lifetime.advance(batch.program, values, state, left, pause)
            for name, value in (now or {}).items():
                measured[name][point] = value  # waits for the device
            measured["seconds"][point] += time.monotonic() - start
            done = done + left if now else int(state.update.max())
            told = stop.requested
            if store is not None:
                store.save(done, state, measured, at_once=told or done == total)
            if now:
                show(point + 1, float(np.nanmean(measured["return"][point])))
            if told:
                raise Interrupted(f"stopped on {task}, saved; run it again to go on.")
    return measured


def _timings(batch: "_Batch", measured: dict[str, np.ndarray]) -> list[Timing]:
    """Return what the points of a batch took; all lanes have the same seconds."""
    pairs = zip(measured["seconds"][:, 0], measured["peak_bytes"].max(axis=1), strict=True)
    return [Timing(batch.program, len(batch.lanes), float(s), float(p)) for s, p in pairs]


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def show_points(run: Run) -> Callable[[int, int, float], None]:
    """Return a callback for :func:`evaluate` that shows a progress line."""
    lines: list[Progress] = []

    def update(done: int, total: int, score: float) -> None:
        if not lines:
            lines.append(run.progress(total, unit="point"))
        lines[0].update(done, score=score, label="return")

    return update


def _batches(family: Family, seeds: Sequence[int], lanes: int) -> list[list[tuple]]:
    """Split a family's (candidate, seed, values) lanes into equal batches: one program serves all.

    The last batch is filled up by repeating lanes, which :func:`_rows` drops.
    """
    values = jax.device_get(family.values)  # NumPy: each small operation of jax.numpy is compiled
    every = [
        (member, seed, jax.tree.map(lambda leaf, i=i: leaf[i], values))
        for i, member in enumerate(family.members)
        for seed in seeds
    ]
    lanes = min(lanes, len(every))
    spare = -len(every) % lanes
    every += [(-1, *every[i % len(every)][1:]) for i in range(spare)]
    return [every[start : start + lanes] for start in range(0, len(every), lanes)]


def _rows(
    task: str,
    lifetime: Lifetime,
    candidates: Sequence[Candidate],
    lanes: Sequence[tuple],
    budget: Budget,
    measured: dict[str, np.ndarray],
) -> pd.DataFrame:
    """Return the table rows of a batch of lanes."""
    kept = [i for i, (member, *_) in enumerate(lanes) if member >= 0]
    chosen = [candidates[lanes[i][0]] for i in kept]
    frames = []
    for point in range(budget.points):
        update = (point + 1) * budget.every
        rows = {
            "task": task,
            "optimizer": [candidate.label for candidate in chosen],
            "learning_rate": [candidate.learning_rate for candidate in chosen],
            "seed": [lanes[i][1] for i in kept],
            "update": update,
            "env_steps": update * lifetime.steps_per_update,
            "return": measured["return"][point, kept].astype(float),
            "episodes": measured["episodes"][point, kept].astype(float),
        }
        frames.append(pd.DataFrame(rows))
    return pd.concat(frames, ignore_index=True)

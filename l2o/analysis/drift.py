"""Which gradients an optimizer sees in meta-training, by reset scheme."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from l2o.analysis.recorder import BINS, LOWEST, bin_of
from l2o.choices import RESETS
from l2o.meta.loops.base import Shared
from l2o.meta.loops.toy import ToyLoop
from l2o.meta.objectives import OBJECTIVES
from l2o.meta.population import Agents, make_schedule, phases
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.registry import make_optimizer
from l2o.seeding import key_for
from l2o.statistics.columns.gradients import BIN_WIDTH, POPULATION_COLUMNS
from l2o.tasks.registry import make_toy_agent

if TYPE_CHECKING:
    from l2o.config.analysis import Drift
    from l2o.jobs.record import Run


def record_populations(settings: Drift, run: Run) -> pd.DataFrame:
    """Record all gradients of a population, with and without pipeline training.

    The optimizer is Adam (``optim4rl_m`` untrained), so that the only thing that changes from one
    outer step to the next is the agents' ages.

    Args:
        settings: Which populations.
        run: Shows the progress.

    Returns:
        See ``POPULATION_COLUMNS``.
    """
    optimizer = make_optimizer("optim4rl_m")
    agent = make_toy_agent(settings.task)
    task = TrainingTask(settings.task, agent, settings.learning_rate)
    objective = OBJECTIVES["agent_loss"]
    loop = ToyLoop(optimizer, task, settings.unroll, objective, settings.environments)
    meta_params = optimizer.init_meta(key_for(0, "init_meta"))
    progress = run.progress(len(RESETS) * settings.seeds * settings.outer_steps)
    frames = []
    for scheme in RESETS:
        for seed in range(settings.seeds):
            counts = _population(loop, meta_params, settings, scheme, seed)
            frames.append(_table(counts, settings.every).assign(scheme=scheme, population=seed))
            progress.update(len(frames) * settings.outer_steps)
    return pd.concat(frames, ignore_index=True)[list(POPULATION_COLUMNS)]


def _population(
    loop: ToyLoop, meta_params: Any, settings: Drift, scheme: str, seed: int
) -> np.ndarray:
    """Train one population; return its histograms, ``[outer steps / every, BINS]``."""
    schedule = make_schedule(scheme, settings.reset_interval)
    phase = phases(scheme, settings.agents, settings.reset_interval)
    key = key_for(seed, "drift")
    shared = Shared(meta_params, jnp.float32(1.0), schedule, jnp.int32(0))
    agents = _fresh(loop, shared, jax.random.split(key, settings.agents), phase)
    rows = settings.outer_steps // settings.every
    return np.asarray(_run(loop, rows, settings.every, shared, agents, key))


@functools.partial(jax.jit, static_argnums=0)
def _fresh(loop: ToyLoop, shared: Shared, keys: jax.Array, phase: jax.Array) -> Agents:
    return loop.fresh(shared, keys, phase)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    loop: ToyLoop, rows: int, every: int, shared: Shared, agents: Agents, key: jax.Array
) -> jax.Array:
    """Take outer steps as meta-training does, but for the meta-update."""

    def outer_step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        agents, step = carry
        now = shared._replace(step=step)
        keys = jax.random.split(jax.random.fold_in(key, step), (agents.age.size, loop.keys))
        ended, _ = loop.ended(now, agents)
        agents, recorded = loop.train(now, loop.renew(now, agents, ended, keys), keys)
        g = recorded.gradient.ravel()
        counts = jnp.zeros(BINS, jnp.int32).at[bin_of(g)].add((g != 0).astype(jnp.int32))
        return (agents, step + 1), counts

    def row(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        carry, counts = jax.lax.scan(outer_step, carry, length=every)
        return carry, counts.sum(0)

    return jax.lax.scan(row, (agents, jnp.int32(0)), length=rows)[1]


def _table(counts: np.ndarray, every: int) -> pd.DataFrame:
    row, bins = np.nonzero(counts)
    return pd.DataFrame(
        {
            "outer_step": row * every,
            "exponent": np.round(LOWEST + BIN_WIDTH * bins, 6),
            "count": counts[row, bins],
        }
    )

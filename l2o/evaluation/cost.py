"""What an optimizer costs an agent: time, its share of it, and memory."""

import functools
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from l2o.agents.ppo.agent import PPO
from l2o.agents.vectorize import RUN_ONCE
from l2o.evaluation.candidates import Candidate, Program, families
from l2o.evaluation.evaluate import Budget, Timing
from l2o.evaluation.ppo import PPOLifetime
from l2o.statistics.columns.evaluation import COST_COLUMNS

_CALLS = 5
_UPDATES = 8


def costs(
    task: str,
    lifetime: PPOLifetime,
    candidates: Sequence[Candidate],
    budget: Budget,
    timings: Sequence[Timing],
) -> pd.DataFrame:
    """Return what every optimizer cost; see ``COST_COLUMNS``.

    Args:
        task: Name of the task.
        lifetime: How its agents were trained.
        candidates: The optimizers.
        budget: How long.
        timings: Of the points; the fastest of each program counts, the first holds compilation.
    """
    settings = lifetime.agent.settings
    steps = budget.every * lifetime.steps_per_update
    updates = budget.every * settings.epochs * settings.minibatches
    rows = []
    for family in families(candidates):
        points = [t for t in timings if t.program == family.program]
        seconds = min((t.seconds / t.lanes for t in points), default=float("nan"))
        for position, member in enumerate(family.members):
            value = jax.tree.map(lambda leaf, i=position: leaf[i], family.values)
            candidate = candidates[member]
            alone = update_seconds(candidate, value, lifetime) * updates
            rows.append(
                {
                    "task": task,
                    "optimizer": candidate.label,
                    "seconds": seconds / steps * 1e6,
                    "share": alone / seconds,
                    "peak_bytes": points[-1].peak_bytes if points else float("nan"),
                }
            )
    return pd.DataFrame(rows, columns=list(COST_COLUMNS))


def update_seconds(candidate: Candidate, value: dict, lifetime: PPOLifetime) -> float:
    """Return the seconds of one update of an agent's parameters, the least of several calls.

    Args:
        candidate: The optimizer.
        value: What tells it from others of its family.
        lifetime: How agents are trained.
    """
    (family,) = families([candidate])
    value = value | {"index": jnp.int32(0)} if "index" in value else value
    start, several = _update_alone(family.program, lifetime.agent)
    params, gradient = _parameters(lifetime.agent)
    state = start(value, params)
    jax.block_until_ready(several(value, params, state, gradient))
    durations = []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        jax.block_until_ready(several(value, params, state, gradient))
        durations.append(time.perf_counter() - begin)
    return float(np.min(durations)) / _UPDATES


@functools.lru_cache
def _parameters(agent: PPO) -> tuple[jax.Array, jax.Array]:
    """Return parameters of an agent, and something like their gradient, float32 ``[P]``."""
    params = jax.jit(agent.init_params, compiler_options=RUN_ONCE)(jax.random.key(0))
    rng = np.random.default_rng(0)
    return params, jnp.asarray(1e-3 * rng.standard_normal(params.shape), params.dtype)


@functools.lru_cache
def _update_alone(program: Program, agent: PPO) -> tuple[Callable, Callable]:
    """Compile what an optimizer does without agents; optimizers of one program share it."""

    @functools.partial(jax.jit, compiler_options=RUN_ONCE)
    def start(value: dict, params: jax.Array) -> object:
        return program.transform(value, agent.unravel).init(params)

    @jax.jit
    def several(value: dict, params: jax.Array, state: object, gradient: jax.Array) -> tuple:
        def once(carry: tuple, _: None) -> tuple:
            params, state = carry
            step, state = program.transform(value, agent.unravel).update(
                gradient, state, params, value=jnp.float32(0.0), progress=jnp.float32(0.5)
            )
            return (params + step, state), None

        return jax.lax.scan(once, (params, state), length=_UPDATES)[0]

    return start, several

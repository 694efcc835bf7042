"""What evaluating optimizers compiles, found without training an agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from l2o.evaluation.candidates import Candidate, families
from l2o.evaluation.lifetimes import task_lifetime
from l2o.evaluation.memory import less_memory
from l2o.jobs.programs import Lowered

if TYPE_CHECKING:
    from l2o.config.parts import PPOTraining, ToyTraining

Tree = Any


def of_agents(
    task: str, training: ToyTraining | PPOTraining, candidates: Sequence[Candidate], seeds: int
) -> Iterator[Lowered]:
    """Yield the programs that train agents with every candidate, each program once.

    Args:
        task: What the agents learn.
        training: How they are trained.
        candidates: The optimizers.
        seeds: Agents of each.
    """
    lifetime, budget = task_lifetime(task, training, seeds)
    seen = set()
    for family in families(candidates):
        lanes = min(budget.lanes, len(family.members) * seeds)
        values = jax.tree.map(lambda x, n=lanes: _shape(x, n), family.values)
        keys = jax.eval_shape(lambda n=lanes: jax.random.split(jax.random.key(0), n))
        for name, lowered in lifetime.lowered(family.program, values, keys, budget.every):
            same = (name, lanes, family.program if name in ("lifetime", "learn") else None)
            if same not in seen:
                seen.add(same)
                advice = tuple(less_memory(task, lifetime, lanes))
                yield Lowered(f"{task} {name}", lowered, advice)


def _shape(x: jax.Array, lanes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((lanes, *jnp.shape(x)[1:]), x.dtype)

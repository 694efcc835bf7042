"""Antithetic evolution strategies on whole lifetimes (OpenAI-ES; OPEN's meta-training)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from l2o.meta.estimators.antithetic import (
    Antithetic,
    Explored,
    first,
    in_pairs,
    perturbed,
    twice,
)
from l2o.meta.estimators.base import Inner

Tree = Any


@dataclasses.dataclass(frozen=True)
class FullES(Antithetic):
    """Every outer step trains pairs of fresh agents for a whole lifetime, the reset interval.

    Unbiased, as expensive as it is long, and nothing is carried over but the meta-parameters.

    Attributes:
        shaping: See :func:`l2o.meta.estimators.antithetic.shape`.
        last: Share of the lifetime, at its end, whose mean loss counts, if the objective is not
            about evaluation episodes after it.
    """

    shaping: str = "ranks"
    last: float = 0.1

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> jax.Array:
        """Return what stands for the population: nothing is carried over."""
        del inner, shared, key
        return phase

    def _keys(self, inner: Inner) -> int:
        """Return how many random keys a pair needs: for fresh agents, and for their lifetime."""
        return 2

    def _explore(
        self, inner: Inner, shared: Any, state: jax.Array, keys: jax.Array, noise: jax.Array
    ) -> Explored:
        metas = perturbed(shared.meta_params, noise)
        agents = twice(inner.fresh(shared, keys[:, 0], state))
        losses, statistics = live(inner, shared, metas, agents, twice(keys[:, 1]), self.last)
        both = in_pairs(losses), first(in_pairs(statistics))
        return Explored(state, *both, jnp.zeros(len(state), bool))


def live(
    inner: Inner,
    shared: Any,
    metas: Tree,
    agents: Tree,
    keys: jax.Array,
    last: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Train whole lifetimes.

    Args:
        inner: What is trained.
        shared: What the agents have in common.
        metas: Meta-parameters of each agent, ``[N, ...]``.
        agents: New ones, ``[N, ...]``.
        keys: Random keys, ``[N]``.
        last: See :class:`FullES`.

    Returns:
        Losses and statistics, ``[N]``.
    """
    blocks = inner.lifetime(shared.schedule)
    begin = jnp.floor((1 - last) * blocks).astype(jnp.int32)

    def train(agents: Tree, index: jax.Array) -> tuple:
        now = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, index), inner.keys))
        return inner.measure(shared, metas, agents, now(keys))

    def block(index: jax.Array, carry: tuple) -> tuple:
        agents, total, weight, sums = carry
        agents, outcome = train(agents, index)
        own = jnp.ones_like(weight) if outcome.weight is None else outcome.weight
        counts = (index >= begin) & (own > 0)
        total = total + jnp.where(counts, outcome.loss * own, 0.0)
        weight = weight + jnp.where(counts, own, 0.0)
        return agents, total, weight, jax.tree.map(jnp.add, sums, outcome.statistics)

    shapes = jax.eval_shape(train, agents, blocks)[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    start = (agents, zeros.loss, jnp.zeros_like(zeros.loss), zeros.statistics)
    agents, total, weight, sums = jax.lax.fori_loop(0, blocks, block, start)
    losses = jnp.where((weight > 0) | jnp.isnan(total), total / weight, jnp.inf)
    losses = inner.assess(agents, losses)
    episodes = {name: sums[name] for name in ("total", "episodes")}
    means = {name: value / blocks for name, value in sums.items() if name not in episodes}
    return losses, means | episodes

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
        last: Share of the lifetime, at its end, whose mean loss counts.
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
        losses, statistics = self._live(inner, shared, metas, agents, keys[:, 1])
        return Explored(state, losses, statistics, jnp.zeros(len(state), bool))

    def _live(
        self, inner: Inner, shared: Any, metas: Tree, agents: Tree, keys: jax.Array
    ) -> tuple[jax.Array, dict]:
        """Train whole lifetimes; return losses ``[n, 2]`` and statistics ``[n]``."""
        blocks = shared.schedule.interval
        begin = jnp.floor((1 - self.last) * blocks).astype(jnp.int32)

        def train(agents: Tree, index: jax.Array) -> tuple:
            now = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, index), inner.keys))
            return inner.measure(shared, metas, agents, twice(now(keys)))

        def block(index: jax.Array, carry: tuple) -> tuple:
            agents, total, sums = carry
            agents, outcome = train(agents, index)
            total = total + jnp.where(index >= begin, outcome.loss, 0.0)
            return agents, total, jax.tree.map(jnp.add, sums, outcome.statistics)

        shapes = jax.eval_shape(train, agents, blocks)[1]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
        _, total, sums = jax.lax.fori_loop(0, blocks, block, (agents, zeros.loss, zeros.statistics))
        episodes = {name: sums[name] for name in ("total", "episodes")}
        means = {name: value / blocks for name, value in sums.items() if name not in episodes}
        return in_pairs(total / (blocks - begin)), first(in_pairs(means | episodes))

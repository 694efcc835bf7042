"""Antithetic evolution strategies on truncated unrolls: biased (ES) and unbiased (PES).

Each pair of agents has a perturbation ``e ~ N(0, sigma^2)`` of its own; one of the pair trains with
``meta_params + e`` and one with ``meta_params - e``, on the same random keys.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from l2o.meta.devices import over_devices
from l2o.meta.estimators.base import (
    Estimate,
    Inner,
    antithetic,
    flat_pairs,
    in_pairs,
    perturbations,
    perturbed,
    shape,
    split_keys,
    twice,
)

Tree = Any


class _Evolution:
    """Shared by both: one slot of the population is a pair of agents."""

    shaping: str

    def slots(self, agents: int) -> int:
        """One per pair."""
        return agents // 2


@dataclasses.dataclass(frozen=True)
class TruncatedES(_Evolution):
    """Truncated evolution strategies: both of a pair start from the same state.

    The gradient is ``mean(e (L+ - L-)) / (2 sigma^2)`` over one unroll; the pair continues from the
    state of the first. Biased, as what led to the state counts as given.

    Attributes:
        shaping: See :func:`l2o.meta.estimators.base.shape`.
    """

    shaping: str = "none"

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> Tree:
        """Return new agents, one per pair."""
        return inner.fresh(shared, split_keys(key, len(phase), 1)[:, 0], phase)

    def estimate(
        self, inner: Inner, shared: Any, state: Tree, key: jax.Array, sigma: jax.Array, devices: int
    ) -> Estimate:
        """Advance the population; see :class:`l2o.meta.estimators.base.Estimator`."""

        def local(shared: Any, agents: Tree, keys: jax.Array, noise: jax.Array) -> tuple:
            where, broken = inner.ended(shared, agents)
            agents = inner.renew(shared, agents, where, keys)
            metas = perturbed(shared.meta_params, noise)
            both, outcome = in_pairs(inner.measure(shared, metas, twice(agents), twice(keys)))
            return _first(both), outcome.loss, _first(outcome.statistics), broken

        key_noise, key = jax.random.split(key)
        number = jax.tree.leaves(state)[0].shape[0]
        noise = perturbations(key_noise, number, shared.meta_params, sigma)
        keys = split_keys(key, number, inner.keys)
        state, losses, statistics, broken = over_devices(local, devices)(shared, state, keys, noise)
        shaped = shape(losses, self.shaping)
        gradient, usable = antithetic(noise, shaped, sigma, shared.meta_params)
        loss = jnp.where(usable, losses.mean(1), jnp.nan)
        return Estimate(gradient, state, loss, statistics, broken)


class PESState(NamedTuple):
    """A population for PES."""

    agents: Tree  # leaves [n, 2, ...], with plus and minus
    accumulated: jax.Array  # [n, T], sum of each pair's perturbations in this lifetime


@dataclasses.dataclass(frozen=True)
class PES(_Evolution):
    """Persistent evolution strategies (Vicol et al. 2021): the two of a pair stay apart.

    With ``A`` the sum of a pair's perturbations since its lifetime started, the gradient is
    ``mean(A (L+ - L-)) / (2 sigma^2)``: unbiased for the loss of the whole lifetime (as long as the
    meta-parameters stay the same), at a variance that grows with its length.

    Attributes:
        shaping: See :func:`l2o.meta.estimators.base.shape`.
    """

    shaping: str = "none"

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> PESState:
        """Return new pairs of equal agents."""
        agents = inner.fresh(shared, split_keys(key, len(phase), 1)[:, 0], phase)
        size = ravel_pytree(shared.meta_params)[0].size
        return PESState(in_pairs(twice(agents)), jnp.zeros((len(phase), size)))

    def estimate(
        self,
        inner: Inner,
        shared: Any,
        state: PESState,
        key: jax.Array,
        sigma: jax.Array,
        devices: int,
    ) -> Estimate:
        """Advance the population; see :class:`l2o.meta.estimators.base.Estimator`."""

        def local(shared: Any, state: PESState, keys: jax.Array, noise: jax.Array) -> tuple:
            # If one of a pair starts anew, so does the other: they compare like with like.
            where, broken = (
                in_pairs(each).any(axis=1) for each in inner.ended(shared, flat_pairs(state.agents))
            )
            keys = twice(keys)
            agents = inner.renew(shared, flat_pairs(state.agents), twice(where), keys)
            accumulated = jnp.where(where[:, None], 0.0, state.accumulated) + noise
            metas = perturbed(shared.meta_params, noise)
            agents, outcome = in_pairs(inner.measure(shared, metas, agents, keys))
            state = PESState(agents, accumulated)
            return state, outcome.loss, _first(outcome.statistics), broken

        key_noise, key = jax.random.split(key)
        number = len(state.accumulated)
        noise = perturbations(key_noise, number, shared.meta_params, sigma)
        keys = split_keys(key, number, inner.keys)
        state, losses, statistics, broken = over_devices(local, devices)(shared, state, keys, noise)
        shaped = shape(losses, self.shaping)
        gradient, usable = antithetic(state.accumulated, shaped, sigma, shared.meta_params)
        loss = jnp.where(usable, losses.mean(1), jnp.nan)
        return Estimate(gradient, state, loss, statistics, broken)


def _first(tree: Tree) -> Tree:
    """Return the first of each pair, leaves ``[n, 2, ...]`` to ``[n, ...]``."""
    return jax.tree.map(lambda leaf: leaf[:, 0], tree)

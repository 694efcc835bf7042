"""Antithetic evolution strategies on truncated unrolls: biased (ES) and unbiased (PES)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from l2o.meta.estimators.antithetic import (
    Antithetic,
    Explored,
    first,
    flat_pairs,
    in_pairs,
    measure,
    perturbed,
    twice,
)
from l2o.meta.estimators.base import Inner, split_keys

Tree = Any


@dataclasses.dataclass(frozen=True)
class TruncatedES(Antithetic):
    """Truncated evolution strategies: both of a pair start from the same state.

    The gradient is ``mean(e (L+ - L-)) / (2 sigma^2)`` over one unroll; the pair continues from the
    state of the first. Biased, as what led to the state counts as given.

    Attributes:
        shaping: See :func:`l2o.meta.estimators.antithetic.shape`.
    """

    shaping: str = "none"

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> Tree:
        """Return new agents, one per pair."""
        return inner.fresh(shared, split_keys(key, len(phase), 1)[:, 0], phase)

    def _explore(
        self, inner: Inner, shared: Any, state: Tree, keys: jax.Array, noise: jax.Array
    ) -> Explored:
        where, broken = inner.ended(shared, state)
        agents = inner.renew(shared, state, where, keys)
        metas = perturbed(shared.meta_params, noise)
        both, outcome = measure(inner, shared, metas, twice(agents), twice(keys))
        return Explored(first(both), outcome.loss, first(outcome.statistics), broken)


class PESState(NamedTuple):
    """A population for PES."""

    agents: Tree  # leaves [n, 2, ...], with plus and minus
    accumulated: jax.Array  # [n, T], sum of each pair's perturbations in this lifetime


@dataclasses.dataclass(frozen=True)
class PES(Antithetic):
    """Persistent evolution strategies (Vicol et al. 2021): the two of a pair stay apart.

    With ``A`` the sum of a pair's perturbations since its lifetime started, the gradient is
    ``mean(A (L+ - L-)) / (2 sigma^2)``: unbiased for the loss of the whole lifetime (as long as the
    meta-parameters stay the same), at a variance that grows with its length.

    Attributes:
        shaping: See :func:`l2o.meta.estimators.antithetic.shape`.
    """

    shaping: str = "none"

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> PESState:
        """Return new pairs of equal agents."""
        agents = inner.fresh(shared, split_keys(key, len(phase), 1)[:, 0], phase)
        size = ravel_pytree(shared.meta_params)[0].size
        return PESState(in_pairs(twice(agents)), jnp.zeros((len(phase), size)))

    def _explore(
        self, inner: Inner, shared: Any, state: PESState, keys: jax.Array, noise: jax.Array
    ) -> Explored:
        agents, keys = flat_pairs(state.agents), twice(keys)
        # If one of a pair starts anew, so does the other: they compare like with like.
        where, broken = (in_pairs(each).any(axis=1) for each in inner.ended(shared, agents))
        agents = inner.renew(shared, agents, twice(where), keys)
        accumulated = jnp.where(where[:, None], 0.0, state.accumulated) + noise
        metas = perturbed(shared.meta_params, noise)
        agents, outcome = measure(inner, shared, metas, agents, keys)
        statistics = first(outcome.statistics)
        return Explored(PESState(agents, accumulated), outcome.loss, statistics, broken)

    def _directions(self, state: PESState, noise: jax.Array) -> jax.Array:
        return state.accumulated

"""Antithetic evolution strategies: what truncated ES, PES and full-lifetime ES have in common.

Each pair of agents has a perturbation ``e ~ N(0, sigma^2)`` of its own; one of the pair trains with
``meta_params + e`` and one with ``meta_params - e``, on the same random keys.
"""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from l2o.meta.devices import over_devices
from l2o.meta.estimators.base import Estimate, Inner, split_keys

Tree = Any


class Explored(NamedTuple):
    """What came of ``n`` pairs in one outer step."""

    state: Tree  # of the population, leaves [n, ...]
    losses: jax.Array  # [n, 2], with plus and minus; NaN of agents that diverged, or infinite
    statistics: dict[str, jax.Array]  # [n] each
    restarted: jax.Array  # [n] bool, which pairs had diverged before the step


class Antithetic(abc.ABC):
    """An estimator whose population has one slot per pair of agents.

    Attributes:
        shaping: See :func:`shape`.
    """

    shaping: str

    def slots(self, agents: int) -> int:
        """One per pair."""
        return agents // 2

    def estimate(
        self, inner: Inner, shared: Any, state: Tree, key: jax.Array, sigma: jax.Array, devices: int
    ) -> Estimate:
        """Advance the population; see :class:`l2o.meta.estimators.base.Estimator`."""

        def local(shared: Any, state: Tree, keys: jax.Array, noise: jax.Array) -> Explored:
            return self._explore(inner, shared, state, keys, noise)

        key_noise, key = jax.random.split(key)
        number = jax.tree.leaves(state)[0].shape[0]
        noise = perturbations(key_noise, number, shared.meta_params, sigma)
        keys = split_keys(key, number, self._keys(inner))
        seen = over_devices(local, devices)(shared, state, keys, noise)
        gradient, usable = antithetic(
            self._directions(seen.state, noise),
            shape(seen.losses, self.shaping),
            sigma,
            shared.meta_params,
        )
        loss = jnp.where(usable, seen.losses.mean(1), jnp.nan)
        return Estimate(gradient, seen.state, loss, seen.statistics, seen.restarted)

    @abc.abstractmethod
    def _explore(
        self, inner: Inner, shared: Any, state: Tree, keys: jax.Array, noise: jax.Array
    ) -> Explored:
        """Train pairs with meta-parameters plus and minus noise ``[n, T]``; keys ``[n, ...]``."""

    def _keys(self, inner: Inner) -> int:
        """Return how many random keys a pair needs."""
        return inner.keys

    def _directions(self, state: Tree, noise: jax.Array) -> jax.Array:
        """Return what each pair's difference of losses is attributed to, ``[n, T]``."""
        del state
        return noise


def perturbations(key: jax.Array, number: int, like: Tree, sigma: jax.Array) -> jax.Array:
    """Return normal perturbations of the flat meta-parameters, ``[number, T]``."""
    size = sum(leaf.size for leaf in jax.tree.leaves(like))
    return sigma * jax.random.normal(key, (number, size))


def perturbed(meta_params: Tree, noise: jax.Array) -> Tree:
    """Return meta-parameters plus and minus noise ``[n, T]``: leaves ``[2 n, ...]``, in pairs."""
    flat, unravel = ravel_pytree(meta_params)
    both = jnp.stack([flat + noise, flat - noise], axis=1)
    return jax.vmap(unravel)(both.reshape(-1, flat.size))


def in_pairs(tree: Tree) -> Tree:
    """Give leaves ``[2 n, ...]`` the shape ``[n, 2, ...]``."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:]), tree)


def flat_pairs(tree: Tree) -> Tree:
    """Give leaves ``[n, 2, ...]`` the shape ``[2 n, ...]``."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)


def first(tree: Tree) -> Tree:
    """Return the first of each pair, leaves ``[n, 2, ...]`` to ``[n, ...]``."""
    return jax.tree.map(lambda leaf: leaf[:, 0], tree)


def twice(tree: Tree) -> Tree:
    """Repeat each entry of leaves ``[n, ...]``: ``[2 n, ...]``."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), tree)


def measure(inner: Inner, shared: Any, metas: Tree, agents: Tree, keys: jax.Array) -> tuple:
    """Train for one outer step; return agents and an outcome, in pairs ``[n, 2, ...]``."""
    agents, outcome = inner.measure(shared, metas, agents, keys)
    return in_pairs((agents, outcome._replace(loss=inner.assess(agents, outcome.loss))))


def shape(losses: jax.Array, how: str) -> jax.Array:
    """Normalise a task's losses.

    Args:
        losses: ``[n, 2]``, NaN for agents to leave out, infinite where there is none.
        how: ``"none"``; ``"standardise"`` (unit standard deviation within the task); or
            ``"ranks"`` (centred ranks in [-0.5, 0.5], ties share theirs, where an agent that
            diverged, or has no loss, counts as worse than all others).
    """
    if how == "none":
        return losses
    if how == "standardise":
        finite = jnp.isfinite(losses)
        spread = jnp.std(losses, where=finite)  # NaN of none
        return losses / jnp.where(finite.any(), jnp.maximum(spread, 1e-12), 1.0)
    flat = jnp.where(jnp.isnan(losses), jnp.inf, losses).ravel()
    below = (flat[None, :] < flat[:, None]).sum(1)
    equal = (flat[None, :] == flat[:, None]).sum(1)
    ranks = below + (equal - 1) / 2
    return (ranks / (flat.size - 1) - 0.5).reshape(losses.shape)


def antithetic(
    directions: jax.Array, losses: jax.Array, sigma: jax.Array, like: Tree
) -> tuple[Tree, jax.Array]:
    """Return ``mean(direction * (loss+ - loss-)) / (2 sigma^2)`` over usable pairs.

    Args:
        directions: ``[n, T]``.
        losses: With plus and minus, ``[n, 2]``; a pair with one that is not finite is left out:
            NaN says that an agent diverged, an infinity that it has no loss yet.
        sigma: Standard deviation of the perturbations.
        like: Tree to return.

    Returns:
        The gradient, not finite if no pair was usable because agents diverged, 0 if none has a
        loss; and bool ``[n]``: which were usable.
    """
    usable = jnp.isfinite(losses).all(axis=1)
    difference = jnp.where(usable, losses[:, 0] - losses[:, 1], 0.0)
    # No usable pair at all makes the mean 0/0 on purpose: the step is then skipped.
    number = jnp.where(jnp.isnan(losses).any(), usable.sum(), jnp.maximum(usable.sum(), 1))
    flat = difference @ directions / (2 * jnp.square(sigma) * number)
    return ravel_pytree(like)[1](flat), usable

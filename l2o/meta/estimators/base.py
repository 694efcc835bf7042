"""What every estimator of the meta-gradient is given and gives."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Tree = Any


class Inner(Protocol):
    """What is optimized in the inner loop; see :class:`l2o.meta.inner.InnerLoop`."""

    @property
    def keys(self) -> int:
        """Random keys that one agent needs for an outer step."""

    def fresh(self, shared: Any, keys: jax.Array, phase: jax.Array) -> Tree:
        """Return new agents, leaves ``[N, ...]``."""

    def ended(self, shared: Any, agents: Tree) -> tuple:
        """Return whose lifetime is over, and which of them diverged, bool ``[N]``."""

    def renew(self, shared: Any, agents: Tree, where: jax.Array, keys: jax.Array) -> Tree:
        """Replace some agents by new ones."""

    def differentiate(self, shared: Any, agents: Tree, keys: jax.Array) -> tuple:
        """Train; return agents and an outcome with gradients."""

    def measure(self, shared: Any, meta_params: Tree, agents: Tree, keys: jax.Array) -> tuple:
        """Train with meta-parameters of each agent's own; return agents and an outcome."""


class Estimate(NamedTuple):
    """A meta-gradient from one task's population, and what was seen on the way."""

    gradient: Tree  # like the meta-parameters; not finite if no agent was usable
    state: Tree  # of the population
    loss: jax.Array  # [N], NaN where an agent was left out
    statistics: dict[str, jax.Array]  # [N] each
    restarted: jax.Array  # [N] bool, which agents had diverged before the step


class Estimator(Protocol):
    """A way to get the meta-gradient of a population; hashable, methods are pure."""

    def slots(self, agents: int) -> int:
        """Return the length of the population's leading axis, ``N``."""

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> Tree:
        """Return the state of a population before the first outer step."""

    def estimate(
        self, inner: Inner, shared: Any, state: Tree, key: jax.Array, sigma: jax.Array, devices: int
    ) -> Estimate:
        """Advance a population by one outer step.

        Args:
            inner: What it trains on.
            shared: What its agents have in common: ``meta_params`` first of all.
            state: From :meth:`init` or the last step.
            key: Random key.
            sigma: Standard deviation of perturbations; unused without them.
            devices: Devices that share the population.
        """


def split_keys(key: jax.Array, agents: int, each: int) -> jax.Array:
    """Return random keys ``[agents, each]``, the same however the agents are split up."""
    # One flat call of the hash function: short inner axes are slow to compile.
    return jax.random.split(key, agents * each).reshape(agents, each)


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


def twice(tree: Tree) -> Tree:
    """Repeat each entry of leaves ``[n, ...]``: ``[2 n, ...]``."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), tree)


def shape(losses: jax.Array, how: str) -> jax.Array:
    """Normalise a task's losses.

    Args:
        losses: ``[n, 2]``, NaN for agents to leave out.
        how: ``"none"``; ``"standardise"`` (unit standard deviation within the task); or
            ``"ranks"`` (centred ranks in [-0.5, 0.5], ties share theirs, where an agent that
            diverged counts as worse than all others).
    """
    if how == "none":
        return losses
    if how == "standardise":
        return losses / jnp.maximum(jnp.nanstd(losses), 1e-12)
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
        losses: With plus and minus, ``[n, 2]``; a pair with one that is not finite is left out.
        sigma: Standard deviation of the perturbations.
        like: Tree to return.

    Returns:
        The gradient, not finite if no pair was usable, and bool ``[n]``: which were.
    """
    usable = jnp.isfinite(losses).all(axis=1)
    difference = jnp.where(usable, losses[:, 0] - losses[:, 1], 0.0)
    # No usable pair at all makes the mean 0/0 on purpose: the step is then skipped.
    flat = difference @ directions / (2 * jnp.square(sigma) * usable.sum())
    return ravel_pytree(like)[1](flat), usable

"""How a population of agents is mapped onto a device, and flat parameter vectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""Compiler options of a program that runs once, and takes longer to compile than to run."""


def over_agents(function: Callable) -> Callable:
    """Map a function over the leading axis of its arguments: in turn on a CPU, else vectorised.

    What an agent's update reads and writes fits the cache of a CPU core; the whole population's
    does not, and batched products of small matrices are slow there.
    """
    if jax.default_backend() == "cpu":
        return lambda *args: jax.lax.map(lambda packed: function(*packed), args)
    return jax.vmap(function)


def ravel(tree: Tree) -> jax.Array:
    """Concatenate the leaves of a tree, in tree order, into one vector."""
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def unravel_like(shapes: Tree, flat: jax.Array) -> Tree:
    """Split a vector into a tree of the given shapes, the inverse of :func:`ravel`."""
    leaves, structure = jax.tree.flatten(shapes)
    parts, start = [], 0
    for leaf in leaves:
        parts.append(flat[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(structure, parts)

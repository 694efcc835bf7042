"""How a population of agents is mapped onto a device, and flat parameter vectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

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


def on_tree(
    tx: optax.GradientTransformationExtraArgs, unravel: Callable[[jax.Array], Tree]
) -> optax.GradientTransformationExtraArgs:
    """Let an optimizer that looks at whole tensors work on flat vectors ``[P]``.

    Args:
        tx: The optimizer.
        unravel: Function from a flat vector to the tree of parameters.
    """

    def init_fn(params: jax.Array) -> Tree:
        return tx.init(unravel(params))

    def update_fn(
        updates: jax.Array, state: Tree, params: jax.Array | None = None, **extra_args: Any
    ) -> tuple[jax.Array, Tree]:
        tree = None if params is None else unravel(params)
        updates, state = tx.update(unravel(updates), state, tree, **extra_args)
        return ravel(updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


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

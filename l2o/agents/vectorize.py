"""How a population of agents is mapped onto a device, and flat parameter vectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Tree = Any

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""Compiler options of a program that runs once, and takes longer to compile than to run."""


def over_agents(
    function: Callable, in_axes: int | tuple[int, ...] = 0, ahead: bool = True
) -> Callable:
    """Map a function over an axis of its arguments: in turn on a CPU, else vectorised.

    What an agent's update reads and writes fits the cache of a CPU core; the whole population's
    does not, and batched products of small matrices are slow there.

    Args:
        function: Of one agent.
        in_axes: The axis of each argument's leaves, or of all of them, that counts agents.
        ahead: Read the next agent ahead, see :func:`scan_ahead`; not worth it for a function that
            does so itself with the largest of its arguments.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function, in_axes)

    def in_turn(*args: Tree) -> Tree:
        axes = (in_axes,) * len(args) if isinstance(in_axes, int) else in_axes

        def agent(index: jax.Array | int) -> tuple:
            return tuple(
                jax.tree.map(
                    lambda leaf, axis=axis: jax.lax.dynamic_index_in_dim(leaf, index, axis, False),
                    arg,
                )
                for arg, axis in zip(args, axes, strict=True)
            )

        number = jax.tree.leaves(args[0])[0].shape[axes[0]]
        if not ahead:
            return jax.lax.map(lambda index: function(*agent(index)), jnp.arange(number))
        return scan_ahead(lambda _, now: (None, function(*now)), None, agent, number)[1]

    return in_turn


def scan_ahead(
    function: Callable[[Tree, Tree], tuple[Tree, Tree]],
    init: Tree,
    read: Callable[[jax.Array | int], Tree],
    length: int,
    reverse: bool = False,
) -> tuple[Tree, Tree]:
    """Scan over what ``read(index)`` gives, as ``jax.lax.scan`` does over slices of arrays.

    The next value travels in the carry: XLA's CPU backend would fuse the slice of a scanned array
    into the arithmetic that reads it, and code with a slice inside is not vectorised (measured:
    five times slower).

    Args:
        function: From carry and value to carry and output.
        init: First carry.
        read: Function of an index.
        length: How many values.
        reverse: From the last to the first; outputs come in that order.

    Returns:
        The last carry, and the outputs, leaves ``[length, ...]``.
    """

    def body(carry: tuple, index: jax.Array) -> tuple[tuple, Tree]:
        carry, now = carry
        carry, out = function(carry, now)
        following = jnp.maximum(index - 1, 0) if reverse else jnp.minimum(index + 1, length - 1)
        return (carry, read(following)), out

    indices = jnp.arange(length - 1, -1, -1) if reverse else jnp.arange(length)
    start = (init, read(length - 1 if reverse else 0))
    (carry, _), outputs = jax.lax.scan(body, start, indices)
    return carry, outputs


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


def count_parameters(shapes: Tree) -> int:
    """Return how many parameters a tree of arrays or shapes has."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def unravel_like(shapes: Tree, flat: jax.Array) -> Tree:
    """Split a vector into a tree of the given shapes, the inverse of :func:`ravel`."""
    leaves, structure = jax.tree.flatten(shapes)
    parts, start = [], 0
    for leaf in leaves:
        parts.append(flat[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(structure, parts)


def in_float32(tree: Tree) -> Tree:
    """Return floats in float32: under ``jax_enable_x64`` an environment's may be wider."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )

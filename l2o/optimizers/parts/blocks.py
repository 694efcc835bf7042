"""Coordinate-wise functions over long vectors, block by block and in place, for CPUs.

What one block's networks compute in between (dozens of numbers per parameter) fits the processor's
cache; that of a whole large network does not, and would take several times the memory of the state.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from l2o.optimizers.parts import flags
from l2o.optimizers.parts.linear_maps import linear_map

Tree = Any
Direction = Callable[..., tuple[Tree, jax.Array]]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def in_blocks(
    direction: Direction, size: int, meta_params: Tree, hidden: Tree, g: jax.Array, more: tuple = ()
) -> tuple[Tree, jax.Array]:
    """Evaluate ``direction(meta_params, hidden, g, *more)`` on blocks of coordinates.

    Its derivative works in blocks too and recomputes each: nothing is stored but the arguments.

    Args:
        direction: A coordinate-wise function, see ``CoordinateWise.direction``.
        size: Coordinates of a block.
        meta_params: Meta-parameters.
        hidden: Arrays ``[features, P]``.
        g: ``[P]`` float32; carries no gradient.
        more: Further vectors ``[P]`` float32; they carry none either.

    Returns:
        What ``direction`` returns: hidden state and step.
    """

    def block(acc: None, read: tuple, write: tuple) -> tuple[None, tuple]:
        return None, direction(meta_params, *write, *read)

    return _sweep(block, None, more, (hidden, g), size)[1]


@in_blocks.defjvp
@flags.under_defaults
def _jvp(direction: Direction, size: int, primals: tuple, tangents: tuple) -> tuple:
    along = functools.partial(_along, direction, size)
    transposed = functools.partial(_transposed, direction, size)
    out = in_blocks(direction, size, *primals)
    return out, linear_map(along, transposed, primals, tangents[:2])


def _along(direction: Direction, size: int, primals: tuple, tangents: tuple) -> tuple:
    """Return the derivative along a direction of meta-parameters and hidden state."""
    meta_params, hidden, g, more = primals
    d_meta, d_hidden = tangents

    def block(acc: None, read: tuple, write: tuple) -> tuple[None, tuple]:
        hidden, g, more = read
        function = lambda meta, hidden: direction(meta, hidden, g, *more)  # noqa: E731
        return None, jax.jvp(function, (meta_params, hidden), (d_meta, write[0]))[1]

    return _sweep(block, None, (hidden, g, more), (d_hidden, jnp.zeros_like(g)), size)[1]


def _transposed(direction: Direction, size: int, primals: tuple, cotangents: tuple) -> tuple:
    meta_params, hidden, g, more = primals
    d_hidden, d_step = cotangents

    def block(d_meta: Tree, read: tuple, d_hidden: Tree) -> tuple[Tree, Tree]:
        hidden, g, d_step, more = read
        _, vjp = jax.vjp(
            lambda meta, hidden: direction(meta, hidden, g, *more), meta_params, hidden
        )
        here, d_before = vjp((d_hidden, d_step))
        return jax.tree.map(jnp.add, d_meta, here), d_before

    zeros = jax.tree.map(jnp.zeros_like, meta_params)
    return _sweep(block, zeros, (hidden, g, d_step, more), d_hidden, size)


def _sweep(function: Callable, acc: Tree, read: Tree, write: Tree, size: int) -> tuple[Tree, Tree]:
    """Apply ``acc, write = function(acc, read, write)`` to one block after another.

    Args:
        function: Gets and returns blocks, arrays ``[..., size]``, last one shorter.
        acc: Carried from block to block.
        read: Arrays ``[..., P]``.
        write: Arrays ``[..., P]``, replaced in place.
        size: Length of a block.
    """
    total = jax.tree.leaves(write)[0].shape[-1]
    blocks, rest = divmod(total, size)

    def at(tree: Tree, start: jax.Array | int, size: int) -> Tree:
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size, axis=-1), tree
        )

    def put(tree: Tree, block: Tree, start: jax.Array | int) -> Tree:
        return jax.tree.map(
            lambda leaf, part: jax.lax.dynamic_update_slice_in_dim(leaf, part, start, axis=-1),
            tree,
            block,
        )

    # The next block travels in the carry: code that has a slice fused into it is not vectorised.
    def body(i: jax.Array, carry: tuple) -> tuple:
        acc, write, (read_block, write_block) = carry
        acc, write_block = function(acc, read_block, write_block)
        write = put(write, write_block, i * size)
        following = jnp.minimum(i + 1, blocks - 1) * size
        return acc, write, at((read, write), following, size)

    start = (acc, write, at((read, write), 0, size))
    acc, write, _ = jax.lax.fori_loop(0, blocks, body, start)
    if rest:
        acc, last = function(acc, *at((read, write), blocks * size, rest))
        write = put(write, last, blocks * size)
    return acc, write

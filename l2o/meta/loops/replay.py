"""The meta-gradient of an unroll, from a recording of it.

Every input of a learned optimizer is a stop-gradient. So the meta-gradient needs no derivative of
an agent's gradient: with the gradients ``g_1 .. g_K`` of an unroll recorded, and ``c`` the gradient
of the meta-loss with respect to the final agent parameters, it is the vector-Jacobian product of
``meta_params -> agent parameters after K updates on g_1 .. g_K`` with ``c``.

This keeps environments and agents out of the differentiated program, and one agent's backward pass
stays in the processor's cache. It is mixed-mode by construction: no second derivative is left.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from l2o.agents.vectorize import scan_ahead

Tree = Any
Update = Callable[[Tree, tuple, Tree], tuple]


def recorded_gradient(
    update: Update, meta_params: Tree, history: tuple, recorded: Tree, cotangents: jax.Array
) -> Tree:
    """Return the meta-gradient of one agent's unroll whose states were recorded too.

    Reverse-mode differentiation through the K updates, with one update recomputed at a time.

    Args:
        update: Function from meta-parameters, ``(opt_state, params)`` and one recorded step to
            the next ``(opt_state, params)``.
        meta_params: Where the gradient is taken.
        history: ``(opt_state, params)`` before each update, leaves ``[K, ...]``; constant.
        recorded: What each update was given, leaves ``[K, ...]``; constant.
        cotangents: Gradient of the meta-loss with respect to the parameters after the unroll,
            ``[P]``, or after each of its steps, ``[K, P]``.

    Returns:
        A tree like ``meta_params``.
    """
    along = cotangents if cotangents.ndim == 2 else None
    carry = _no_cotangents(meta_params, _at(history, 0), cotangents)
    return _backward(update, meta_params, history, recorded, along, *carry)[1]


def replay_gradient(
    update: Update,
    meta_params: Tree,
    start: tuple,
    recorded: Tree,
    cotangents: jax.Array,
    segment: int,
) -> Tree:
    """Return the meta-gradient of one agent's unroll, in less memory: replay what is needed.

    Args:
        update: See :func:`recorded_gradient`.
        meta_params: Where the gradient is taken.
        start: ``(opt_state, params)`` before the unroll; constant.
        recorded: See :func:`recorded_gradient`.
        cotangents: See :func:`recorded_gradient`.
        segment: Steps, a divisor of K, whose states are in memory at a time, beside those between
            segments; the updates are then done twice more.

    Returns:
        A tree like ``meta_params``.
    """
    along = cotangents if cotangents.ndim == 2 else None

    def cut(index: jax.Array | int, tree: Tree) -> Tree:
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * segment, segment), tree
        )

    def forward(state: tuple, index: jax.Array) -> tuple[tuple, tuple]:
        return _replay(update, meta_params, state, cut(index, recorded))[0], state

    def backward(carry: tuple, now: tuple) -> tuple[tuple, None]:
        index, state = now
        part = cut(index, recorded)
        _, history = _replay(update, meta_params, state, part)
        return _backward(update, meta_params, history, part, cut(index, along), *carry), None

    segments = jnp.arange(_length(recorded) // segment)
    _, starts = jax.lax.scan(forward, start, segments)
    carry = _no_cotangents(meta_params, start, cotangents)
    carry, _ = jax.lax.scan(backward, carry, (segments, starts), reverse=True)
    return carry[1]


def _no_cotangents(meta_params: Tree, state: tuple, cotangents: jax.Array) -> tuple[tuple, Tree]:
    """Return the cotangents to start with: of the last state, and of the meta-parameters."""
    d_params = cotangents if cotangents.ndim == 1 else jnp.zeros_like(cotangents[0])
    d_state = (jax.tree.map(_zero_cotangent, state[0]), d_params)
    return d_state, jax.tree.map(jnp.zeros_like, meta_params)


def _replay(update: Update, meta_params: Tree, start: tuple, recorded: Tree) -> tuple:
    """Do the updates again; return the state after, and those before each of them."""
    return scan_ahead(
        lambda before, now: (update(meta_params, before, now), before),
        start,
        lambda index: _at(recorded, index),
        _length(recorded),
    )


def _backward(
    update: Update,
    meta_params: Tree,
    history: tuple,
    recorded: Tree,
    along: jax.Array | None,
    d_state: tuple,
    d_meta: Tree,
) -> tuple[tuple, Tree]:
    """Go back; return the cotangents of the first state and of the meta-parameters."""

    def backward(carry: tuple, step: tuple) -> tuple[tuple, None]:
        (d_opt_state, d_params), d_meta = carry
        before, now, more = step
        d_after = (d_opt_state, d_params if more is None else d_params + more)
        _, vjp = jax.vjp(lambda meta, state: update(meta, state, now), meta_params, before)
        d_meta_step, d_before = vjp(d_after)
        return (d_before, jax.tree.map(jnp.add, d_meta, d_meta_step)), None

    given = (history, recorded, along)
    start, steps = (d_state, d_meta), _length(recorded)
    return scan_ahead(backward, start, lambda index: _at(given, index), steps, reverse=True)[0]


def _length(recorded: Tree) -> int:
    return jax.tree.leaves(recorded)[0].shape[0]


def _at(tree: Tree, index: jax.Array | int) -> Tree:
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree
    )


def _zero_cotangent(leaf: jax.Array) -> Any:
    """Zero cotangent; integers (step counts) have the trivial float0 type."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(leaf.shape, jax.dtypes.float0)

"""The meta-gradient of an unroll, from a recording of it.

Every input of a learned optimizer is a stop-gradient. So the meta-gradient needs no derivative of
an agent's gradient: with the gradients ``g_1 .. g_K`` of an unroll recorded, and ``c`` the gradient
of the meta-loss with respect to the final agent parameters, it is the vector-Jacobian product of
``meta_params -> agent parameters after replaying K updates on g_1 .. g_K`` with ``c``.

Replaying keeps environments and agents out of the differentiated program, and one agent's replay
stays in the processor's cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Tree = Any
Transform = Callable[[Tree], optax.GradientTransformationExtraArgs]


def replay_gradient(
    transform: Transform,
    meta_params: Tree,
    opt_state: Tree,
    params: Tree,
    gradients: Tree,
    cotangent: Tree,
) -> Tree:
    """Return the meta-gradient of one agent's unroll.

    Reverse-mode differentiation through the K updates, with one update recomputed at a time.

    Args:
        transform: Function from meta-parameters to the optax transformation.
        meta_params: Where the gradient is taken.
        opt_state: Optimizer state before the unroll; constant.
        params: Agent parameters before the unroll; constant.
        gradients: Recorded agent gradients, leaves ``[K, *parameter]``.
        cotangent: Gradient of the meta-loss with respect to the parameters after the unroll.

    Returns:
        A tree like ``meta_params``.
    """
    steps = jax.tree.leaves(gradients)[0].shape[0]

    def update(meta_params: Tree, carry: Tree, gradient: Tree) -> Tree:
        opt_state, params = carry
        updates, opt_state = transform(meta_params).update(gradient, opt_state, params)
        return opt_state, optax.apply_updates(params, updates)

    # In both scans the next recorded value travels in the carry instead of being scanned over:
    # XLA's CPU backend fuses the slice of a scanned array into the arithmetic that reads it, and
    # code with a slice inside is not vectorised (measured: five times slower).
    def forward(carry: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        before, gradient = carry
        after = update(meta_params, before, gradient)
        return (after, _at(gradients, jnp.minimum(step + 1, steps - 1))), before

    start = ((opt_state, params), _at(gradients, 0))
    (final, _), history = jax.lax.scan(forward, start, jnp.arange(steps))

    def backward(carry: tuple, step: jax.Array) -> tuple[tuple, None]:
        d_after, d_meta, (before, gradient) = carry
        _, vjp = jax.vjp(lambda meta, state: update(meta, state, gradient), meta_params, before)
        d_meta_step, d_before = vjp(d_after)
        previous = jnp.maximum(step - 1, 0)
        recorded = (_at(history, previous), _at(gradients, previous))
        return (d_before, jax.tree.map(jnp.add, d_meta, d_meta_step), recorded), None

    d_final = (jax.tree.map(_zero_cotangent, final[0]), cotangent)
    zeros = jax.tree.map(jnp.zeros_like, meta_params)
    last = (_at(history, steps - 1), _at(gradients, steps - 1))
    (_, d_meta, _), _ = jax.lax.scan(
        backward, (d_final, zeros, last), jnp.arange(steps - 1, -1, -1)
    )
    return d_meta


def _at(tree: Tree, index: jax.Array | int) -> Tree:
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree
    )


def _zero_cotangent(leaf: jax.Array) -> Any:
    """Zero cotangent; integers (step counts) have the trivial float0 type."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(leaf.shape, jax.dtypes.float0)

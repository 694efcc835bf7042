"""Dormancy: how active the units of an agent are, told to optimizers that look at whole tensors."""

from typing import Any

import jax
import jax.numpy as jnp

from l2o.optimizers.parts.layers import Leaf
from l2o.optimizers.parts.paths import plain_leaves

Tree = Any


def dormancy(optimizer: str, leaves: list[Leaf], activations: Tree) -> jax.Array:
    """Return each unit's activation relative to its layer's mean, per incoming parameter.

    Args:
        optimizer: Who asks, for messages.
        leaves: The parameters.
        activations: Tree with their paths, the mean magnitude of every unit of the layer,
            ``[units]``. ``None``, whole or for a leaf, means that all units are equally active.

    Returns:
        float32 ``[P]``; 1 where it is not known.

    Raises:
        ValueError: The activations of a leaf are missing or do not have its number of units.
    """
    if activations is None:
        return jnp.ones(sum(leaf.size for leaf in leaves))
    given = dict(plain_leaves(activations, keep_none=True))
    missing = [leaf.path for leaf in leaves if leaf.path not in given]
    if missing:
        raise ValueError(f"optimizer '{optimizer}': no activations of {', '.join(missing)}.")
    return jnp.concatenate([_of_leaf(optimizer, leaf, given[leaf.path]) for leaf in leaves])


def _of_leaf(optimizer: str, leaf: Leaf, a: Any) -> jax.Array:
    if a is None or jnp.size(a) == 1:  # log_std has one entry, whatever its size
        return jnp.ones(leaf.size)
    if jnp.shape(a) != leaf.shape[-1:]:
        raise ValueError(
            f"optimizer '{optimizer}': activations of '{leaf.path}' have shape {jnp.shape(a)}, "
            f"want {leaf.shape[-1:]} for parameters {leaf.shape}."
        )
    a = jax.lax.stop_gradient(jnp.asarray(a, jnp.float32)) + 1e-11
    return jnp.broadcast_to(a / jnp.mean(jnp.abs(a)), leaf.shape).ravel()

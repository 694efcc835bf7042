"""The small network that reads the features of an element.

Kernels have the references' layout, ``[inputs, units]``; activations are feature-major,
``[units, elements]``. Parameters are ``{"w0": ..., "b0": ..., "w1": ..., ...}``.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.parts.accumulators import Features
from l2o.optimizers.parts.packing import Packing

Tree = Any


def init_kernel(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """Return haiku's default kernel: normal, cut at two sigmas, sigma ``1 / sqrt(fan_in)``."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape) / jnp.sqrt(float(fan_in))


def init_feature_mlp(key: jax.Array, sizes: Sequence[int]) -> Tree:
    """Initialise the layers of a network of the given sizes, inputs first; biases are zero."""
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = list(itertools.pairwise(sizes))
    kernels = {f"w{i}": init_kernel(keys[i], pair, pair[0]) for i, pair in enumerate(pairs)}
    return kernels | {f"b{i}": jnp.zeros(units) for i, (_, units) in enumerate(pairs)}


def init_grouped_mlp(key: jax.Array, groups: Sequence[int], sizes: Sequence[int]) -> Tree:
    """Initialise a network whose first kernel is stored in groups ``w0__0``, ``w0__1``, ...

    Args:
        key: Random key.
        groups: Input channels of each group.
        sizes: Units of each layer.
    """
    params = init_feature_mlp(key, (sum(groups), *sizes))
    parts = jnp.split(params.pop("w0"), np.cumsum(groups)[:-1])
    return params | {f"w0__{i}": part for i, part in enumerate(parts)}


def join_groups(params: Tree, axis: int = 0) -> Tree:
    """Return a network's parameters with the groups of its first kernel joined as ``w0``."""
    count = sum(name.startswith("w0__") for name in params)
    layers = {name: leaf for name, leaf in params.items() if not name.startswith("w0__")}
    return layers | {"w0": jnp.concatenate([params[f"w0__{i}"] for i in range(count)], axis)}


def split_kernel(kernel: jax.Array) -> Features:
    """Split a first kernel ``[channels, units]`` of the references' order as features are."""
    own, row, col, row_, col_, last = jnp.split(kernel, len(kernel) - np.arange(15, 0, -3))
    return Features(*map(jnp.concatenate, ([own, last], [row, row_], [col, col_])))


def apply_kernel(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Return ``[units, *rest]`` from ``[channels, units]`` and ``[channels, *rest]``."""
    return jnp.tensordot(kernel, x, (0, 0))


def feature_mlp(layers: Tree, x: Features, at: Packing, outputs: int) -> jax.Array:
    """Apply a network to normalised features of all elements.

    Args:
        layers: The network; ``b0`` may include what inputs contribute that all elements share.
        x: The features.
        at: Where the elements belong.
        outputs: How many of the outputs are wanted, the first ones.

    Returns:
        ``[outputs, elements]``, float32.
    """
    own, row, col = map(apply_kernel, split_kernel(layers["w0"]), x)
    y = own + at.spread(row, at.rows) + at.spread(col, at.cols)
    return later_layers(layers, y, outputs)


def later_layers(layers: Tree, y: jax.Array, outputs: int) -> jax.Array:
    """Apply all of a network but its first kernel, to ``[units, elements]``."""
    y = y + layers["b0"][:, None]
    last = sum(name.startswith("b") for name in layers) - 1
    for i in range(1, last + 1):
        end = outputs if i == last else None
        w, b = layers[f"w{i}"][:, :end], layers[f"b{i}"][:end]
        y = apply_kernel(w, jax.nn.relu(y)) + b[:, None]
    return y

"""Networks of the discrete agents, and how active the units of any network are."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.flatten_util import ravel_pytree

Tree = Any


class Convolution(nn.Module):
    """A 2x2 convolution without padding, as flax's with these parameters, as one matrix product.

    Agents differ in their weights. Mapped over those, XLA's convolution becomes a grouped one,
    which is several times slower than a batched product.

    Attributes:
        features: Output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[..., C, H, W]`` to ``[..., H - 1, W - 1, features]``."""
        channels, height, width = x.shape[-3:]
        shape = (2, 2, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        corners = [x[..., i : height - 1 + i, j : width - 1 + j] for i in (0, 1) for j in (0, 1)]
        patches = jnp.concatenate(corners, axis=-3)
        return jnp.einsum("...chw,cf->...hwf", patches, kernel.reshape(-1, self.features)) + bias


class ActorCritic(nn.Module):
    """A shared torso with linear actor and critic heads.

    Attributes:
        actions: Number of actions.
        torso: ``"D32"`` (dense 32), ``"D256"``, or ``"C16-D32"`` (2x2 convolution with 16 channels,
            then dense 32); ReLU after each layer.
        observation_ndim: Axes of one observation. Grids are channels-first ``[C, H, W]``.
    """

    actions: int
    torso: str
    observation_ndim: int

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map observations ``[..., *obs]`` to logits ``[..., actions]`` and values ``[...]``."""
        batch = observation.shape[: observation.ndim - self.observation_ndim]
        x = observation
        if self.torso.startswith("C16"):
            x = nn.relu(Convolution(16, name="convolution")(x))
        x = x.reshape((*batch, -1))
        x = nn.relu(nn.Dense(int(self.torso.rsplit("D", 1)[1]), name="torso")(x))
        logits = nn.Dense(self.actions, name="actor")(x)
        return logits, nn.Dense(1, name="critic")(x)[..., 0]


def unit_activations(
    network: nn.Module,
    params: Tree,
    observation: jax.Array,
    nonlinearity: Callable[[jax.Array], jax.Array],
    outputs: Sequence[str],
) -> Tree:
    """Return the mean magnitude of every unit's activation over a batch.

    Args:
        network: A network whose layers are modules, each called once.
        params: Its parameters, one folder of leaves per layer.
        observation: The batch, ``[..., *obs]``.
        nonlinearity: Follows every layer but those in ``outputs``, whose units are linear.
        outputs: Names of layers.

    Returns:
        A tree like the parameters, float32 ``[units]`` for each leaf; of a convolution, the units
        are its channels.
    """
    _, captured = network.apply(
        {"params": params}, observation, capture_intermediates=True, mutable=["intermediates"]
    )

    def layer(name: str) -> Tree:
        (x,) = captured["intermediates"][name]["__call__"]
        x = jnp.abs(x if name in outputs else nonlinearity(x))
        mean = jnp.mean(x, axis=tuple(range(x.ndim - 1)))
        return jax.tree.map(lambda _: mean, params[name])

    return {name: layer(name) for name in params}


def init_lecun(key: jax.Array, shapes: Tree) -> Tree:
    """Initialise parameters as flax does by default: LeCun-normal kernels, zero biases.

    One draw serves all leaves: an initialiser per leaf takes seconds to compile.

    Args:
        key: Random key.
        shapes: Tree of shapes; a leaf with two or more axes is a kernel, its last axis the output.
    """
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    flat, unravel = ravel_pytree(zeros)
    # The standard deviation of a unit normal truncated to [-2, 2], as in variance_scaling.
    draws = jax.random.truncated_normal(key, -2.0, 2.0, flat.shape) / 0.87962566103423978

    def scale(leaf: jax.Array) -> jax.Array:
        fan_in = leaf.size // leaf.shape[-1]
        return leaf * (fan_in**-0.5 if leaf.ndim > 1 else 0.0)

    return jax.tree.map(scale, unravel(draws))

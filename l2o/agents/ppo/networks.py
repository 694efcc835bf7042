"""Policy and value networks of PPO agents, and distributions over actions."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.agents.a2c import sample_action
from l2o.agents.networks import unit_activations
from l2o.choices import ACTIVATIONS, INITIALIZERS
from l2o.config.ppo import PPOSettings
from l2o.errors import unknown_name

Tree = Any

_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    name: getattr(nn, name) for name in ACTIVATIONS
}
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class PPOParams(NamedTuple):
    """Parameters of both networks."""

    policy: Tree
    value: Tree


class Distribution(Protocol):
    """A distribution over actions, given a network's outputs (``logits``).

    Raw actions are what is sampled and stored, :meth:`postprocess` gives what environments get.
    """

    param_size: int

    def sample(self, logits: jax.Array, key: jax.Array) -> jax.Array:
        """Draw raw actions."""

    def postprocess(self, raw: jax.Array) -> jax.Array:
        """Turn raw actions into actions."""

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the action to take when there is no exploration."""

    def log_prob(self, logits: jax.Array, raw: jax.Array) -> jax.Array:
        """Return log-densities of raw actions ``[...]``."""

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array | None:
        """Draw what :meth:`entropy` needs for a batch of that shape."""

    def entropy(self, logits: jax.Array, noise: jax.Array | None) -> jax.Array:
        """Return an unbiased estimate of the actions' entropies ``[...]``."""


class TanhNormal:
    """Hyperbolic tangents of independent normals, as Brax parametrises them.

    Its outputs are the means and, through a softplus, the standard deviations.
    """

    def __init__(self, size: int):
        self.size = size
        self.param_size = 2 * size

    def _moments(self, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, spread = jnp.split(logits, 2, axis=-1)
        return mean, jax.nn.softplus(spread) + 0.001

    def sample(self, logits: jax.Array, key: jax.Array) -> jax.Array:
        """Draw normals ``[..., A]``."""
        mean, deviation = self._moments(logits)
        return mean + deviation * jax.random.normal(key, mean.shape)

    def postprocess(self, raw: jax.Array) -> jax.Array:
        """Return their hyperbolic tangents."""
        return jnp.tanh(raw)

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the tangents of the means ``[..., A]``."""
        return jnp.tanh(self._moments(logits)[0])

    def log_prob(self, logits: jax.Array, raw: jax.Array) -> jax.Array:
        """Return log-densities of the normals ``[...]``.

        Those of the tangents differ by a term of the action alone, which probability ratios lose.
        """
        mean, deviation = self._moments(logits)
        density = -0.5 * jnp.square((raw - mean) / deviation) - jnp.log(deviation) - _LOG_SQRT_2PI
        return jnp.sum(density, axis=-1)

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draw a sample's standard normals ``[*shape, A]``."""
        return jax.random.normal(key, (*shape, self.size))

    def entropy(self, logits: jax.Array, noise: jax.Array) -> jax.Array:
        """Return the normals' entropies plus the log-slope of the tangent at one sample each."""
        mean, deviation = self._moments(logits)
        raw = mean + deviation * noise
        slope = 2 * (math.log(2) - raw - jax.nn.softplus(-2 * raw))
        return jnp.sum(0.5 + _LOG_SQRT_2PI + jnp.log(deviation) + slope, axis=-1)


class Categorical:
    """One of ``actions`` integers, by unnormalised log-probabilities ``[..., actions]``."""

    def __init__(self, actions: int):
        self.param_size = actions

    def sample(self, logits: jax.Array, key: jax.Array) -> jax.Array:
        """Draw actions ``[...]`` int32."""
        return sample_action(key, logits)

    def postprocess(self, raw: jax.Array) -> jax.Array:
        """Return the actions as they are."""
        return raw

    def mode(self, logits: jax.Array) -> jax.Array:
        """Return the likeliest actions ``[...]`` int32."""
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def log_prob(self, logits: jax.Array, raw: jax.Array) -> jax.Array:
        """Return log-probabilities ``[...]``."""
        # A product with one-hot rows: the backward pass of indexing is a slow scatter.
        taken = jax.nn.one_hot(raw, self.param_size)
        return jnp.sum(jax.nn.log_softmax(logits) * taken, axis=-1)

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> None:
        """Return nothing: the entropy is exact."""

    def entropy(self, logits: jax.Array, noise: None) -> jax.Array:
        """Return the entropies ``[...]``."""
        log_probs = jax.nn.log_softmax(logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


class MLP(nn.Module):
    """Dense layers with an activation between them; layers are named as Brax names them.

    Attributes:
        sizes: Output sizes of the layers; the last one is linear.
        activation: A name in ``ACTIVATIONS``.
        initializer: One of ``INITIALIZERS``.
        last_gain: Gain of the last layer's orthogonal initialisation.
    """

    sizes: Sequence[int]
    activation: str
    initializer: str
    last_gain: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[..., O]`` to ``[..., sizes[-1]]``."""
        last = len(self.sizes) - 1
        for i, size in enumerate(self.sizes):
            init = nn.initializers.lecun_uniform()
            if self.initializer == "orthogonal":
                gain = self.last_gain if i == last else math.sqrt(2)
                init = functools.partial(orthogonal, gain=gain)
            x = nn.Dense(size, kernel_init=init, name=f"hidden_{i}")(x)
            if i < last:
                x = _FUNCTIONS[self.activation](x)
        return x

    def activations(self, params: Tree, x: jax.Array) -> Tree:
        """Return how active every unit is, given ``[..., O]``; see :func:`unit_activations`."""
        output = f"hidden_{len(self.sizes) - 1}"
        nonlinearity = _FUNCTIONS[self.activation]
        return {"params": unit_activations(self, params["params"], x, nonlinearity, [output])}


def orthogonal(
    key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32, gain: float = 1.0
) -> jax.Array:
    """Return a random matrix with orthonormal rows or columns, times ``gain``.

    Equal to flax's initialiser up to rounding, by Gram-Schmidt (twice, which is enough) instead of
    LAPACK: on a CPU, batches of LAPACK's QR that run side by side can wait for each other forever,
    when they take all threads of XLA's pool.

    Args:
        key: Random key.
        shape: Inputs and outputs.
        dtype: Of the result.
        gain: Its singular values.
    """
    rows, columns = max(shape), min(shape)
    normal = jax.random.normal(key, (rows, columns), dtype)

    def column(i: jax.Array, q: jax.Array) -> jax.Array:
        v = normal[:, i]
        for _ in range(2):
            v = v - q @ (v @ q)  # columns from i on are still 0
        return q.at[:, i].set(v / jnp.linalg.norm(v))

    q = jax.lax.fori_loop(0, columns, column, jnp.zeros_like(normal))
    return gain * (q if shape[0] >= shape[1] else q.T)


class PPONetworks(NamedTuple):
    """Policy and value networks and what the policy's outputs mean."""

    policy: MLP
    value: MLP
    distribution: Distribution

    def init(self, key: jax.Array, observation_size: int) -> PPOParams:
        """Return fresh parameters."""
        key_policy, key_value = jax.random.split(key)
        observation = jnp.zeros((1, observation_size))
        return PPOParams(
            self.policy.init(key_policy, observation), self.value.init(key_value, observation)
        )

    def logits(self, params: PPOParams, observation: jax.Array) -> jax.Array:
        """Return the parameters of the action distribution, ``[..., param_size]``."""
        return self.policy.apply(params.policy, observation)

    def values(self, params: PPOParams, observation: jax.Array) -> jax.Array:
        """Return value estimates ``[...]``."""
        return self.value.apply(params.value, observation)[..., 0]

    def activations(self, params: PPOParams, observation: jax.Array) -> PPOParams:
        """Return how active every unit is, given ``[..., O]``; see :func:`unit_activations`."""
        return PPOParams(
            self.policy.activations(params.policy, observation),
            self.value.activations(params.value, observation),
        )


def make_networks(settings: PPOSettings, distribution: Distribution) -> PPONetworks:
    """Build the networks that the settings describe.

    Raises:
        L2OError: The activation or the initialiser is unknown.
    """
    if settings.activation not in ACTIVATIONS:
        raise unknown_name("activation", settings.activation, ACTIVATIONS)
    if settings.initializer not in INITIALIZERS:
        raise unknown_name("initializer", settings.initializer, INITIALIZERS)
    names = settings.activation, settings.initializer
    policy = MLP((*settings.policy_layers, distribution.param_size), *names, 0.01)
    return PPONetworks(policy, MLP((*settings.value_layers, 1), *names, 1.0), distribution)

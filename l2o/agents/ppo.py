"""PPO for Brax environments with any optax optimizer, from Brax's networks, losses and statistics.

``brax.training.agents.ppo.train`` itself needs jax < 0.10 and hard-codes Adam; this is its loop as
pure functions of one agent's state.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from l2o.tasks import quiet_brax  # noqa: F401

# isort: split
import jax
import jax.numpy as jnp
from brax import envs
from brax.training import acting, types
from brax.training.acme import running_statistics, specs
from brax.training.agents.ppo import losses
from brax.training.agents.ppo import networks as ppo_networks

from l2o.agents.vectorize import ravel, unravel_like

Tree = Any


class PPOConfig(NamedTuple):
    """PPO hyperparameters; see :class:`l2o.tasks.brax.PPOSettings` for their meaning."""

    environments: int
    batch_size: int
    minibatches: int
    unroll_length: int
    epochs: int
    discount: float
    entropy_weight: float
    reward_scale: float
    gae_lambda: float
    clip: float
    policy_layers: tuple[int, ...]
    value_layers: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)  # environments are compared by identity
class PPO:
    """A PPO agent on one Brax environment.

    Attributes:
        env: A batched environment with automatic reset, see :func:`l2o.tasks.brax.make_env`.
        config: Hyperparameters.
        episode_length: Steps of an evaluation episode.
    """

    env: envs.Env
    config: PPOConfig
    episode_length: int

    @functools.cached_property
    def observation_size(self) -> int:
        """Length of an observation; Brax's own property executes a whole reset to find out."""
        return jax.eval_shape(self.init_envs, jax.random.key(0)).obs.shape[-1]

    @functools.cached_property
    def networks(self) -> ppo_networks.PPONetworks:
        """Policy and value networks, and the action distribution (tanh of a normal)."""
        size = self.observation_size
        with jax.ensure_compile_time_eval():  # Brax keeps example arrays; they must not be traced
            return ppo_networks.make_ppo_networks(
                size,
                self.env.action_size,
                preprocess_observations_fn=running_statistics.normalize,
                policy_hidden_layer_sizes=self.config.policy_layers,
                value_hidden_layer_sizes=self.config.value_layers,
            )

    @property
    def unrolls(self) -> int:
        """Unrolls of every environment per update."""
        return self.config.batch_size * self.config.minibatches // self.config.environments

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update (collection, then several epochs of minibatches)."""
        return self.config.batch_size * self.config.minibatches * self.config.unroll_length

    def _init_tree(self, key: jax.Array) -> losses.PPONetworkParams:
        key_policy, key_value = jax.random.split(key)
        networks = self.networks
        return losses.PPONetworkParams(
            policy=networks.policy_network.init(key_policy),
            value=networks.value_network.init(key_value),
        )

    @functools.cached_property
    def shapes(self) -> Tree:
        """Shapes and dtypes of the parameters."""
        return jax.eval_shape(self._init_tree, jax.random.key(0))

    def unravel(self, flat: jax.Array) -> losses.PPONetworkParams:
        """Turn a flat parameter vector ``[P]`` into the network parameters."""
        return unravel_like(self.shapes, flat)

    def init_params(self, key: jax.Array) -> jax.Array:
        """Return fresh flat parameters, ``[P]`` float32."""
        return ravel(self._init_tree(key))

    def init_normalizer(self) -> running_statistics.RunningStatisticsState:
        """Return observation statistics before any observation."""
        return running_statistics.init_state(
            specs.Array((self.observation_size,), jnp.dtype("float32"))
        )

    def init_envs(self, key: jax.Array) -> envs.State:
        """Reset the training environments."""
        return self._reset(_raw_keys(key, self.config.environments))

    @functools.cached_property
    def _reset(self) -> Callable[[jax.Array], envs.State]:
        return jax.jit(self.env.reset)  # traced once: physics takes seconds to trace

    def _policy(self, params: jax.Array, normalizer: Tree, deterministic: bool) -> types.Policy:
        make = ppo_networks.make_inference_fn(self.networks)
        return make((normalizer, self.unravel(params).policy), deterministic=deterministic)

    def collect(
        self, params: jax.Array, normalizer: Tree, env_state: envs.State, key: jax.Array
    ) -> tuple[envs.State, types.Transition]:
        """Act in all environments.

        Returns:
            The environments, and transitions ``[unrolls * environments, unroll_length, ...]``.
        """
        policy = self._policy(params, normalizer, deterministic=False)

        def unroll(env_state: envs.State, key: jax.Array) -> tuple[envs.State, types.Transition]:
            return acting.generate_unroll(
                self.env, env_state, policy, key, self.config.unroll_length, ("truncation",)
            )

        env_state, data = jax.lax.scan(unroll, env_state, jax.random.split(key, self.unrolls))
        # [unrolls, time, environments] -> [unrolls * environments, time]
        data = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2).reshape(-1, *_time_first(x)), data)
        return env_state, data

    def learn(
        self,
        tx: Any,
        params: jax.Array,
        opt_state: Tree,
        normalizer: Tree,
        data: types.Transition,
        key: jax.Array,
        progress: jax.Array | float = 0.0,
    ) -> tuple[jax.Array, Tree, Tree]:
        """Update observation statistics, then parameters over several epochs of minibatches.

        Args:
            tx: Any optax transformation with extra-args support; it gets the flat gradient and
                the loss as ``value``, and ``progress``.
            params: Flat parameters ``[P]``.
            opt_state: Its state.
            normalizer: Observation statistics.
            data: From :meth:`collect`.
            key: Random key.
            progress: Share of training that is over.

        Returns:
            Parameters, optimizer state, statistics.
        """
        normalizer = running_statistics.update(normalizer, data.observation)

        def minibatch(carry: tuple, packed: tuple) -> tuple[tuple, None]:
            params, opt_state = carry
            batch, key = packed
            loss, gradient = jax.value_and_grad(self._loss)(params, normalizer, batch, key)
            updates, opt_state = tx.update(
                gradient, opt_state, params, value=loss, progress=progress
            )
            return (params + updates, opt_state), None

        def epoch(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
            key_order, key_loss = jax.random.split(key)
            order = jax.random.permutation(key_order, data.reward.shape[0])
            batches = jax.tree.map(
                lambda x: x[order].reshape(self.config.minibatches, -1, *x.shape[1:]), data
            )
            keys = jax.random.split(key_loss, self.config.minibatches)
            return jax.lax.scan(minibatch, carry, (batches, keys))

        (params, opt_state), _ = jax.lax.scan(
            epoch, (params, opt_state), jax.random.split(key, self.config.epochs)
        )
        return params, opt_state, normalizer

    def _loss(self, params: jax.Array, normalizer: Tree, batch: Any, key: jax.Array) -> jax.Array:
        config = self.config
        loss, _ = losses.compute_ppo_loss(
            self.unravel(params),
            normalizer,
            batch,
            key,
            ppo_network=self.networks,
            entropy_cost=config.entropy_weight,
            discounting=config.discount,
            reward_scaling=config.reward_scale,
            gae_lambda=config.gae_lambda,
            clipping_epsilon=config.clip,
        )
        return loss

    def evaluate(
        self, params: jax.Array, normalizer: Tree, key: jax.Array, episodes: int
    ) -> tuple[jax.Array, jax.Array]:
        """Play episodes with the mode of the policy, one in each of ``episodes`` environments.

        Returns:
            Mean undiscounted return and mean length, float32 scalars.
        """
        policy = self._policy(params, normalizer, deterministic=True)

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            state, total, length, alive = carry
            action, _ = policy(state.obs, key)
            state = self.env.step(state, action)
            total, length = total + alive * state.reward, length + alive
            return (state, total, length, alive * (1 - state.done)), None

        zeros = jnp.zeros(episodes)
        start = (self.env.reset(_raw_keys(key, episodes)), zeros, zeros, zeros + 1)
        (_, total, length, _), _ = jax.lax.scan(step, start, length=self.episode_length)
        return total.mean(), length.mean()

    def random_returns(self, key: jax.Array, episodes: int) -> jax.Array:
        """Return undiscounted returns of random actions, one episode each."""
        key_env, key = jax.random.split(key)

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
            state, total, alive = carry
            action = jax.random.uniform(key, (episodes, self.env.action_size), minval=-1.0)
            state = self.env.step(state, action)
            return (state, total + alive * state.reward, alive * (1 - state.done)), None

        start = (
            self.env.reset(_raw_keys(key_env, episodes)),
            jnp.zeros(episodes),
            jnp.ones(episodes),
        )
        (_, total, _), _ = jax.lax.scan(step, start, jax.random.split(key, self.episode_length))
        return total


def _time_first(x: jax.Array) -> tuple[int, ...]:
    """Return the shape of one trajectory in ``[unrolls, time, environments, ...]``."""
    return (x.shape[1], *x.shape[3:])


def _raw_keys(key: jax.Array, number: int) -> jax.Array:
    """Return keys as uint32 ``[number, 2]``: Brax's wrappers read shapes off the last axis."""
    return jax.random.key_data(jax.random.split(key, number))

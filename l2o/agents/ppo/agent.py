"""PPO with any optax optimizer, as pure functions of one agent's state.

The loop of ``brax.training.agents.ppo.train``, which itself needs jax < 0.10 and hard-codes Adam.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from l2o.environments import quiet_brax  # noqa: F401

# isort: split
import jax
import jax.numpy as jnp
from brax.training.acme import running_statistics, specs

from l2o.agents.ppo.loss import Rollout, Transitions
from l2o.agents.ppo.networks import Categorical, PPONetworks, PPOParams, TanhNormal, make_networks
from l2o.agents.vectorize import in_float32, ravel, unravel_like
from l2o.choices import TRUNCATIONS
from l2o.config.ppo import PPOSettings
from l2o.environments.batched import BatchedEnv, EnvState, play, random_actions, raw_keys
from l2o.errors import ConfigError, unknown_name

Tree = Any


@dataclasses.dataclass(frozen=True, eq=False)  # environments are compared by identity
class PPO:
    """A PPO agent on one environment.

    Attributes:
        env: A batch of environments with automatic restart.
        settings: Hyperparameters.

    Raises:
        ConfigError: The settings do not fit together.
    """

    env: BatchedEnv
    settings: PPOSettings

    def __post_init__(self) -> None:
        if self.settings.truncation not in TRUNCATIONS:
            raise unknown_name("treatment of truncation", self.settings.truncation, TRUNCATIONS)
        if problem := self.settings.problem():
            raise ConfigError(f"PPO: {problem}.")

    @property
    def actions_per_episode(self) -> int:
        """Actions until an episode is truncated."""
        return self.settings.actions_per_episode

    @functools.cached_property
    def observation_size(self) -> int:
        """Length of an observation."""
        return jax.eval_shape(self.init_envs, jax.random.key(0)).obs.shape[-1]

    @functools.cached_property
    def networks(self) -> PPONetworks:
        """Policy and value networks, and the action distribution."""
        kind = Categorical if self.env.discrete else TanhNormal
        return make_networks(self.settings, kind(self.env.action_size))

    @property
    def unrolls(self) -> int:
        """Unrolls of every environment per update."""
        settings = self.settings
        return settings.batch_size * settings.minibatches // settings.environments

    @property
    def steps_per_update(self) -> int:
        """Environment steps, repeated actions included, of one update."""
        return self.settings.steps_per_update

    @functools.cached_property
    def shapes(self) -> PPOParams:
        """Shapes and dtypes of the parameters."""
        return jax.eval_shape(self._init_tree, jax.random.key(0))

    def _init_tree(self, key: jax.Array) -> PPOParams:
        return self.networks.init(key, self.observation_size)

    def unravel(self, flat: jax.Array) -> PPOParams:
        """Turn a flat parameter vector ``[P]`` into the network parameters."""
        return unravel_like(self.shapes, flat)

    def init_params(self, key: jax.Array) -> jax.Array:
        """Return fresh flat parameters, ``[P]`` float32."""
        return ravel(self._init_tree(key))

    def init_normalizer(self) -> Tree:
        """Return observation statistics before any observation; ``None`` if none are kept."""
        if not self.settings.normalize_observations:
            return None
        return running_statistics.init_state(
            specs.Array((self.observation_size,), jnp.dtype("float32"))
        )

    def normalize(self, observation: jax.Array, normalizer: Tree) -> jax.Array:
        """Return observations ``[..., O]`` as the networks see them."""
        if normalizer is None:
            return observation
        return running_statistics.normalize(observation, normalizer)

    def init_envs(self, key: jax.Array, world: Tree = None) -> EnvState:
        """Reset the training environments, in the agent's world if it has drawn one."""
        return self._reset(raw_keys(key, self.settings.environments), world)

    @functools.cached_property
    def _reset(self) -> Callable[[jax.Array, Tree], EnvState]:
        return jax.jit(self.env.reset)  # traced once: physics takes seconds to trace

    def act(
        self,
        params: jax.Array,
        normalizer: Tree,
        env_state: EnvState,
        key: jax.Array,
        unrolls: int | None = None,
    ) -> tuple[EnvState, Transitions]:
        """Act in all environments.

        Args:
            params: Flat parameters ``[P]``.
            normalizer: Observation statistics.
            env_state: The environments.
            key: Random key.
            unrolls: Of every environment; by default those of an update.

        Returns:
            The environments, and what happened: ``unrolls * environments`` unrolls.
        """
        tree, distribution = self.unravel(params), self.networks.distribution

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, tuple]:
            state, cut_off = carry
            logits = self.networks.logits(tree, self.normalize(state.obs, normalizer))
            raw = distribution.sample(logits, key)
            following = self.env.step(state, distribution.postprocess(raw))
            truncation = following.truncation
            cut_off = jnp.where(truncation[:, None] > 0, following.terminal_obs, cut_off)
            log_prob = distribution.log_prob(logits, raw)
            data = (state.obs, raw, log_prob, following.reward, following.done, truncation)
            return (following, cut_off), data

        def unroll(state: EnvState, keys: jax.Array) -> tuple[EnvState, tuple]:
            (state, cut_off), data = jax.lax.scan(step, (state, state.obs), keys)
            return state, (data, state.obs, cut_off)

        shape = unrolls or self.unrolls, self.settings.unroll_length
        env_state, (data, last, cut_off) = jax.lax.scan(
            unroll, env_state, jax.random.split(key, shape)
        )
        # [unrolls, time, environments] -> [time, unrolls * environments]
        data = jax.tree.map(
            lambda x: jnp.swapaxes(x, 0, 1).reshape(shape[1], -1, *x.shape[3:]), data
        )
        last, cut_off = (x.reshape(-1, x.shape[-1]) for x in (last, cut_off))
        return env_state, Transitions(*in_float32((*data, last, cut_off)))

    def rollout(
        self,
        params: jax.Array,
        normalizer: Tree,
        seen: Transitions,
        reward_scale: jax.Array | float = 1.0,
    ) -> Rollout:
        """Return what happened, observations as they are, with rewards ready for the loss.

        Args:
            params: Flat parameters ``[P]`` of the agent that acted.
            normalizer: Observation statistics.
            seen: From :meth:`act`.
            reward_scale: Multiplies the rewards, beside that of the settings.
        """
        reward, truncation = seen.reward * self.settings.reward_scale, seen.truncation
        reward = reward * reward_scale
        if self.settings.truncation == "bootstrap":
            # An unroll is no longer than an episode, so that it holds at most one truncation of an
            # environment: the value network sees one observation per unroll, not per step.
            cut_off = self.normalize(seen.cut_off, normalizer)
            value = self.networks.values(self.unravel(params), cut_off)
            reward = reward + self.settings.discount * truncation * value
            end, truncation = seen.done, None
        else:
            end = seen.done * (1 - truncation)
        last = seen.last_observation
        return Rollout(seen.observation, last, seen.action, seen.log_prob, reward, end, truncation)

    def evaluate(
        self,
        params: jax.Array,
        normalizer: Tree,
        key: jax.Array,
        episodes: int,
        random: jax.Array | None = None,
        world: Tree = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Play episodes with the policy, one in each of ``episodes`` environments.

        Its mode acts, unless the settings say that actions are sampled.

        Args:
            params: Flat parameters ``[P]``.
            normalizer: Observation statistics.
            key: Random key.
            episodes: How many.
            random: Bool scalar: act uniformly at random instead, in [-1, 1] where actions are
                continuous; that is the zero of normalised scores, from the same compiled program.
            world: What the agent's environments have in common, if it was drawn.

        Returns:
            Undiscounted returns, and lengths in actions, float32 ``[episodes]``.
        """
        tree, distribution = self.unravel(params), self.networks.distribution

        def act(observation: jax.Array, key: jax.Array) -> jax.Array:
            logits = self.networks.logits(tree, self.normalize(observation, normalizer))
            if self.settings.deterministic_evaluation:
                action = distribution.mode(logits)
            else:
                action = distribution.postprocess(distribution.sample(logits, key))
            if random is None:
                return action
            return jnp.where(random, random_actions(self.env, key, episodes), action)

        return play(self.env, act, key, episodes, world)

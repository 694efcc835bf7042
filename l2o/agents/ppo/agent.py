"""PPO with any optax optimizer, as pure functions of one agent's state.

The loop of ``brax.training.agents.ppo.train``, which itself needs jax < 0.10 and hard-codes Adam.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

from l2o.environments import quiet_brax  # noqa: F401

# isort: split
import jax
import jax.numpy as jnp
from brax.training.acme import running_statistics, specs

from l2o.agents.ppo.loss import Rollout, clip_networks, ppo_loss
from l2o.agents.ppo.networks import Categorical, PPONetworks, PPOParams, TanhNormal, make_networks
from l2o.agents.vectorize import count_parameters, in_float32, ravel, unravel_like
from l2o.choices import TRUNCATIONS
from l2o.config.ppo import PPOSettings
from l2o.environments.batched import BatchedEnv, EnvState, play, random_actions, raw_keys
from l2o.errors import ConfigError, unknown_name
from l2o.seeding import noise_key

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

    def init_envs(self, key: jax.Array) -> EnvState:
        """Reset the training environments."""
        return self._reset(raw_keys(key, self.settings.environments))

    @functools.cached_property
    def _reset(self) -> Callable[[jax.Array], EnvState]:
        return jax.jit(self.env.reset)  # traced once: physics takes seconds to trace

    def collect(
        self, params: jax.Array, normalizer: Tree, env_state: EnvState, key: jax.Array
    ) -> tuple[EnvState, Rollout]:
        """Act in all environments.

        Args:
            params: Flat parameters ``[P]``.
            normalizer: Observation statistics.
            env_state: The environments.
            key: Random key.

        Returns:
            The environments, and what happened: ``unrolls * environments`` unrolls with
            observations as they are and rewards ready for the loss.
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

        shape = self.unrolls, self.settings.unroll_length
        env_state, (data, last, cut_off) = jax.lax.scan(
            unroll, env_state, jax.random.split(key, shape)
        )
        # [unrolls, time, environments] -> [time, unrolls * environments]
        data = jax.tree.map(
            lambda x: jnp.swapaxes(x, 0, 1).reshape(shape[1], -1, *x.shape[3:]), data
        )
        last, cut_off = (x.reshape(-1, x.shape[-1]) for x in (last, cut_off))
        data, last, cut_off = in_float32((data, last, cut_off))
        observation, action, log_prob, reward, done, truncation = data
        reward = reward * self.settings.reward_scale
        if self.settings.truncation == "bootstrap":
            # An unroll is no longer than an episode, so that it holds at most one truncation of an
            # environment: the value network sees one observation per unroll, not per step.
            value = self.networks.values(tree, self.normalize(cut_off, normalizer))
            reward = reward + self.settings.discount * truncation * value
            end, truncation = done, None
        else:
            end = done * (1 - truncation)
        return env_state, Rollout(observation, last, action, log_prob, reward, end, truncation)

    def learn(
        self,
        tx: Any,
        params: jax.Array,
        opt_state: Tree,
        normalizer: Tree,
        data: Rollout,
        key: jax.Array,
        progress: jax.Array | float = 0.0,
        reads: Collection[str] = (),
    ) -> tuple[jax.Array, Tree, Tree]:
        """Update observation statistics, then parameters over several epochs of minibatches.

        Args:
            tx: Any optax transformation with extra-args support; it gets the flat gradient, the
                loss as ``value``, ``progress``, and what it ``reads``.
            params: Flat parameters ``[P]``.
            opt_state: Its state.
            normalizer: Observation statistics.
            data: From :meth:`collect`.
            key: Random key.
            progress: Share of training that is over.
            reads: What else it is given; see ``LearnedOptimizer.reads``.

        Returns:
            Parameters, optimizer state, statistics.
        """
        if normalizer is not None:
            normalizer = running_statistics.update(normalizer, data.observation)
        key_noise, key = jax.random.split(key)
        data = self._prepare(data, normalizer, key_noise)

        policy_size = count_parameters(self.shapes.policy)

        def loss(params: jax.Array, batch: Rollout) -> jax.Array:
            return ppo_loss(self.unravel(params), batch, self.networks, self.settings)

        def minibatch(carry: tuple, now: tuple) -> tuple[tuple, None]:
            (params, opt_state), (chosen, given) = carry, now
            batch = data.take(chosen)
            value, gradient = jax.value_and_grad(loss)(params, batch)
            gradient = clip_networks(gradient, policy_size, self.settings.max_grad_norm)
            if "activations" in reads:
                units = self.networks.activations(self.unravel(params), batch.observation)
                given = given | {"activations": units}
            updates, opt_state = tx.update(
                gradient, opt_state, params, value=value, progress=progress, **given
            )
            return (params + updates, opt_state), None

        def epoch(carry: tuple, now: tuple) -> tuple[tuple, None]:
            key, given = now
            order = jax.random.permutation(key, data.last_observation.shape[0])
            chosen = order.reshape(self.settings.minibatches, -1)
            return jax.lax.scan(minibatch, carry, (chosen, given))

        epochs = jax.random.split(key, self.settings.epochs), self._given(reads, key)
        (params, opt_state), _ = jax.lax.scan(epoch, (params, opt_state), epochs)
        return params, opt_state, normalizer

    def _prepare(self, data: Rollout, normalizer: Tree, key: jax.Array) -> Rollout:
        """Return a rollout as the loss sees it."""
        return data._replace(
            observation=self.normalize(data.observation, normalizer),
            last_observation=self.normalize(data.last_observation, normalizer),
            # Drawn once for all epochs: for every minibatch it would be a fifth of the work.
            noise=self.networks.distribution.noise(key, data.reward.shape),
        )

    def _given(self, reads: Collection[str], key: jax.Array) -> dict[str, jax.Array]:
        """Return what an optimizer reads beside the batch, leaves ``[epochs, minibatches]``."""
        shape = self.settings.epochs, self.settings.minibatches
        given = {}
        if "batch_progress" in reads:
            share = jnp.arange(shape[0], dtype=jnp.float32) / max(shape[0] - 1, 1)
            given["batch_progress"] = jnp.broadcast_to(share[:, None], shape)
        if "key" in reads:
            given["key"] = jax.random.split(noise_key(key), shape)
        return given

    def evaluate(
        self,
        params: jax.Array,
        normalizer: Tree,
        key: jax.Array,
        episodes: int,
        random: jax.Array | None = None,
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

        return play(self.env, act, key, episodes)

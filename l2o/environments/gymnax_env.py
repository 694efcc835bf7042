"""Gymnax environments with discrete actions as batches that PPO agents act in."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from l2o.environments.batched import EnvState, choose, end_of_episode, first_state

if TYPE_CHECKING:
    from gymnax.environments.environment import Environment

Tree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class GymnaxEnv:
    """A batch of one gymnax environment; see :class:`l2o.environments.batched.BatchedEnv`.

    Every episode starts afresh, from random numbers of its own. Observations are flattened. The
    time limit is counted here; the environment's own limit is not asked.

    Attributes:
        env: The environment, with discrete actions.
        env_params: Its parameters.
        episode_length: Steps until an episode is truncated.
        action_repeat: Steps per action.
    """

    env: "Environment"
    env_params: Any
    episode_length: int
    action_repeat: int = 1
    discrete = True

    @property
    def action_size(self) -> int:
        """How many actions there are."""
        return self.env.num_actions

    def reset(self, keys: jax.Array) -> EnvState:
        """Start an episode in every environment, from raw keys ``[E, 2]``."""
        keys = jax.vmap(jax.random.split)(jax.random.wrap_key_data(keys))
        obs, inner = self._start(keys[:, 0])
        inner = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), inner)
        return first_state((inner, jax.random.key_data(keys[:, 1])), obs)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Act, int32 ``[E]``."""
        inner, keys = state.inner
        count = self.action_repeat
        keys = jax.vmap(lambda key: jax.random.split(key, count + 2))(
            jax.random.wrap_key_data(keys)
        )
        reward = terminated = jnp.zeros_like(state.done)
        for i in range(count):
            obs, inner, gain, end, _ = jax.vmap(self.env.step_env, (0, 0, 0, None))(
                keys[:, i], inner, action, self.env_params
            )
            reward = reward + (1 - terminated) * gain.astype(jnp.float32)
            terminated = jnp.maximum(terminated, end.astype(jnp.float32))
        obs = _flat(obs)
        steps = state.steps + count
        done, truncation = end_of_episode(steps, terminated, self.episode_length)
        following = choose(done, self._start(keys[:, count]), (obs, inner))
        return EnvState(
            inner=(following[1], jax.random.key_data(keys[:, count + 1])),
            obs=following[0],
            reward=reward,
            done=done,
            truncation=truncation,
            terminal_obs=obs,
            steps=jnp.where(done > 0, 0, steps),
        )

    def _start(self, keys: jax.Array) -> tuple[jax.Array, Tree]:
        """Return observations ``[E, O]`` and states of new episodes, from typed keys ``[E]``."""
        obs, inner = jax.vmap(self.env.reset_env, (0, None))(keys, self.env_params)
        return _flat(obs), inner


def _flat(obs: jax.Array) -> jax.Array:
    return obs.reshape(obs.shape[0], -1).astype(jnp.float32)

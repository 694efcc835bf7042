"""Gymnax environments as batches that PPO agents act in."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from l2o.environments.batched import EnvState, choose, end_of_episode, first_state
from l2o.errors import ConfigError

if TYPE_CHECKING:
    from gymnax.environments.environment import Environment

Tree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class GymnaxEnv:
    """A batch of one gymnax environment; see :class:`l2o.environments.batched.BatchedEnv`.

    Every episode starts afresh, from random numbers of its own. Observations are flattened. The
    time limit is counted here; the environment's own limit is not asked, but for that of a world
    that an agent has drawn.

    Attributes:
        env: The environment, with discrete actions or a box of bounded ones. If it has
            ``draw_params``, every agent has a world of its own, see :meth:`draw_world`.
        env_params: Its parameters, where no world is drawn.
        episode_length: Steps until an episode is truncated.
        action_repeat: Steps per action.

    Raises:
        ConfigError: It has actions of another kind.
    """

    env: "Environment"
    env_params: Any
    episode_length: int
    action_repeat: int = 1

    def __post_init__(self) -> None:
        with jax.ensure_compile_time_eval():
            space = self.env.action_space(self.env_params)
        bounded = isinstance(space, spaces.Box) and np.isfinite([space.low, space.high]).all()
        if not (isinstance(space, spaces.Discrete) or (bounded and len(space.shape) == 1)):
            raise ConfigError(
                f"{self.env.name}: PPO needs discrete actions or a vector of bounded ones; "
                f"these are {type(space).__name__} {getattr(space, 'shape', '')}."
            )

    @functools.cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Least and greatest continuous action, float32 ``[A]`` each; None if they are discrete."""
        with jax.ensure_compile_time_eval():  # some make arrays
            space = self.env.action_space(self.env_params)
        if isinstance(space, spaces.Discrete):
            return None
        low, high = (np.broadcast_to(x, space.shape) for x in (space.low, space.high))
        return low.astype(np.float32), high.astype(np.float32)

    @property
    def discrete(self) -> bool:
        """Whether an action is one of ``action_size`` integers."""
        return self._bounds is None

    @property
    def action_size(self) -> int:
        """How many actions there are, or the length of a continuous one."""
        return self.env.num_actions if self._bounds is None else self._bounds[0].size

    def draw_world(self, key: jax.Array) -> Tree:
        """Draw what one agent's environments have in common; None if nothing is drawn."""
        return self.env.draw_params(key) if hasattr(self.env, "draw_params") else None

    def reset(self, keys: jax.Array, world: Tree = None) -> EnvState:
        """Start an episode in every environment, from raw keys ``[E, 2]``, in an agent's world."""
        keys = jax.vmap(jax.random.split)(jax.random.wrap_key_data(keys))
        obs, inner = self._start(keys[:, 0], world)
        inner = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), inner)
        return first_state((inner, jax.random.key_data(keys[:, 1]), world), obs)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Act: int32 ``[E]``, or float32 ``[E, A]`` in [-1, 1], scaled to the bounds."""
        inner, keys, world = state.inner
        env_params, limit = self.env_params, self.episode_length
        if world is not None:
            env_params, limit = world, jnp.minimum(world.max_steps_in_episode, limit)
        if self._bounds is not None:
            low, high = self._bounds
            action = low + 0.5 * (jnp.clip(action, -1.0, 1.0) + 1.0) * (high - low)
        count = self.action_repeat
        keys = jax.vmap(lambda key: jax.random.split(key, count + 2))(
            jax.random.wrap_key_data(keys)
        )
        reward = terminated = jnp.zeros_like(state.done)
        for i in range(count):
            obs, inner, gain, end, _ = jax.vmap(self.env.step_env, (0, 0, 0, None))(
                keys[:, i], inner, action, env_params
            )
            reward = reward + (1 - terminated) * gain.astype(jnp.float32)
            terminated = jnp.maximum(terminated, end.astype(jnp.float32))
        obs = _flat(obs)
        steps = state.steps + count
        done, truncation = end_of_episode(steps, terminated, limit)
        following = choose(done, self._start(keys[:, count], world), (obs, inner))
        return EnvState(
            inner=(following[1], jax.random.key_data(keys[:, count + 1]), world),
            obs=following[0],
            reward=reward,
            done=done,
            truncation=truncation,
            terminal_obs=obs,
            steps=jnp.where(done > 0, 0, steps),
        )

    def _start(self, keys: jax.Array, world: Tree) -> tuple[jax.Array, Tree]:
        """Return observations ``[E, O]`` and states of new episodes, from typed keys ``[E]``."""
        env_params = self.env_params if world is None else world
        obs, inner = jax.vmap(self.env.reset_env, (0, None))(keys, env_params)
        return _flat(obs), inner


def _flat(obs: jax.Array) -> jax.Array:
    return obs.reshape(obs.shape[0], -1).astype(jnp.float32)

"""Brax tasks: environments with time limit and automatic reset."""

import dataclasses
import functools

from l2o.environments import quiet_brax  # noqa: F401

# isort: split
import jax
import jax.numpy as jnp
from brax import envs

from l2o.choices import BACKENDS, BRAX_BACKENDS, BROKEN_TASKS
from l2o.environments.batched import EnvState, choose, end_of_episode, first_state
from l2o.errors import look_up, unknown_name, unusable


@dataclasses.dataclass(frozen=True, eq=False)
class BraxEnv:
    """A batch of one Brax environment; see :class:`l2o.environments.batched.BatchedEnv`.

    Does what ``brax.envs.training.wrap`` does: an episode restarts at the environment's first
    state, kept from the reset. It keeps the terminal observation, which Brax overwrites, and
    carries no metrics through the loop. While an action is repeated, rewards after the end of an
    episode do not count, and the end is kept; Brax goes by the last repetition.

    Attributes:
        env: The unwrapped environment.
        episode_length: Environment steps until an episode is truncated.
        action_repeat: Environment steps per action.
    """

    env: envs.Env
    episode_length: int
    action_repeat: int = 1
    discrete = False

    @property
    def action_size(self) -> int:
        """Length of an action."""
        return self.env.action_size

    def draw_world(self, key: jax.Array) -> None:
        """Return None: all agents' environments are the same."""

    def reset(self, keys: jax.Array, world: None = None) -> EnvState:
        """Start an episode in every environment, from raw keys ``[E, 2]``."""
        first = jax.vmap(self.env.reset)(keys)
        start = (first.pipeline_state, first.obs)
        return first_state((first.pipeline_state, first.info, start), first.obs)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Act, float32 ``[E, action_size]`` in [-1, 1]."""
        pipeline_state, info, start = state.inner
        zeros = jnp.zeros_like(state.done)
        brax_state = envs.State(pipeline_state, state.obs, zeros, zeros, {}, info)

        def once(carry: tuple, _: None) -> tuple[tuple, None]:
            brax_state, reward, terminated = carry
            brax_state = jax.vmap(self.env.step)(brax_state, action).replace(metrics={})
            reward = reward + (1 - terminated) * brax_state.reward
            return (brax_state, reward, jnp.maximum(terminated, brax_state.done)), None

        carry = (brax_state, zeros, zeros)
        if self.action_repeat == 1:
            carry, _ = once(carry, None)
        else:
            carry, _ = jax.lax.scan(once, carry, length=self.action_repeat)
        brax_state, reward, terminated = carry
        steps = state.steps + self.action_repeat
        done, truncation = end_of_episode(steps, terminated, self.episode_length)
        following = choose(done, start, (brax_state.pipeline_state, brax_state.obs))
        return EnvState(
            inner=(following[0], brax_state.info, start),
            obs=following[1],
            reward=reward,
            done=done,
            truncation=truncation,
            terminal_obs=brax_state.obs,
            steps=jnp.where(done > 0, 0, steps),
        )


@functools.lru_cache
def make_env(name: str, backend: str, episode_length: int, action_repeat: int = 1) -> BraxEnv:
    """Return a batched Brax environment with a time limit and automatic reset.

    Args:
        name: A Brax task.
        backend: One of ``BACKENDS``.
        episode_length: Environment steps until an episode is truncated.
        action_repeat: Environment steps per action.

    Raises:
        L2OError: The task or backend is unknown; the message gives the nearest valid one. Or the
            task does not work on that backend.
    """
    working = look_up("Brax task", name, BRAX_BACKENDS, BROKEN_TASKS)
    if backend not in BACKENDS:
        raise unknown_name("Brax backend", backend, BACKENDS)
    if backend not in working:
        raise unusable("backend", backend, f"task '{name}'", working)
    return BraxEnv(envs.get_environment(name, backend=backend), episode_length, action_repeat)

"""Batches of environments with time limits and automatic restart, as PPO agents act in them."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Tree = Any


class EnvState(NamedTuple):
    """``E`` environments after a step; those that finished an episode have started the next."""

    inner: Tree  # the environments' own states, and what a restart needs
    obs: jax.Array  # [E, O] float32, to act on
    reward: jax.Array  # [E] float32
    done: jax.Array  # [E] float32, 1 where the episode ended, by itself or by the time limit
    truncation: jax.Array  # [E] float32, 1 where the time limit alone ended it
    terminal_obs: jax.Array  # [E, O] float32, what the step led to, before any restart
    steps: jax.Array  # [E] int32, environment steps of the running episode


class BatchedEnv(Protocol):
    """A batch of environments; methods are pure."""

    action_size: int
    """Length of an action in [-1, 1], or how many actions there are if ``discrete``."""

    discrete: bool
    """Whether an action is one of ``action_size`` integers."""

    def reset(self, keys: jax.Array) -> EnvState:
        """Start an episode in every environment, from raw keys ``[E, 2]`` uint32."""

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Act: float32 ``[E, action_size]``, or int32 ``[E]`` if discrete."""


def first_state(inner: Tree, obs: jax.Array) -> EnvState:
    """Return the state right after a reset, of observations ``[E, O]``."""
    zeros = jnp.zeros(obs.shape[0])
    return EnvState(inner, obs, zeros, zeros, zeros, obs, zeros.astype(jnp.int32))


def end_of_episode(
    steps: jax.Array, terminated: jax.Array, episode_length: int
) -> tuple[jax.Array, jax.Array]:
    """Return where episodes end, and where only because of the time limit, float32 ``[E]``.

    Args:
        steps: Environment steps of the episode, this one included, int32 ``[E]``.
        terminated: 1 where the environment ended it, float32 ``[E]``.
        episode_length: The limit.
    """
    late = (steps >= episode_length).astype(jnp.float32)
    return jnp.maximum(late, terminated), late * (1 - terminated)


def choose(done: jax.Array, restarted: Tree, going_on: Tree) -> Tree:
    """Return, per environment, the restarted state where ``done`` ``[E]``, else the other.

    The result has exactly the dtypes of ``going_on``, no weak ones.
    """

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        mask = jnp.reshape(done > 0, (-1,) + (1,) * (b.ndim - 1))
        return jax.lax.convert_element_type(jnp.where(mask, a, b), b.dtype)

    return jax.tree.map(leaf, restarted, going_on)

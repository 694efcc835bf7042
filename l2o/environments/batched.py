"""Batches of environments with time limits and automatic restart, as PPO agents act in them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Tree = Any

CHUNK = 50
"""Steps between looks at whether all evaluation episodes are over."""


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

    def draw_world(self, key: jax.Array) -> Tree:
        """Draw what one agent's environments have in common; None if nothing is drawn."""

    def reset(self, keys: jax.Array, world: Tree = None) -> EnvState:
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


def raw_keys(key: jax.Array, number: int) -> jax.Array:
    """Return keys as uint32 ``[number, 2]``."""
    return jax.random.key_data(jax.random.split(key, number))


def play(
    env: BatchedEnv,
    act: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    episodes: int,
    world: Tree = None,
) -> tuple[jax.Array, jax.Array]:
    """Play one episode in each of ``episodes`` environments.

    Args:
        env: The environments.
        act: Function of observations ``[episodes, O]`` and a key that gives actions.
        key: Random key.
        episodes: How many.
        world: The agent's, see :class:`BatchedEnv`.

    Returns:
        Undiscounted returns and lengths in actions, float32 ``[episodes]``.
    """
    key_act = jax.random.fold_in(key, 1)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        state, total, length, alive = carry
        state = env.step(state, act(state.obs, key))
        total, length = total + alive * state.reward, length + alive
        return (state, total, length, alive * (1 - state.done)), None

    # In chunks: vectorised over agents, each turn of the outer loop copies their states. The
    # steps beyond the time limit change nothing, all episodes being over.
    def chunk(carry: tuple) -> tuple:
        index, inner = carry
        keys = jax.random.split(jax.random.fold_in(key_act, index), CHUNK)
        return index + 1, jax.lax.scan(step, inner, keys)[0]

    zeros = jnp.zeros(episodes)
    start = (env.reset(raw_keys(key, episodes), world), zeros, zeros, zeros + 1)
    _, (_, total, length, _) = jax.lax.while_loop(
        lambda carry: jnp.any(carry[1][3] > 0), chunk, (0, start)
    )
    return total, length


def random_actions(env: BatchedEnv, key: jax.Array, number: int) -> jax.Array:
    """Draw actions uniformly: int32 ``[number]``, or float32 ``[number, size]`` in [-1, 1]."""
    if env.discrete:
        return jax.random.randint(key, (number,), 0, env.action_size)
    return jax.random.uniform(key, (number, env.action_size), minval=-1.0, maxval=1.0)

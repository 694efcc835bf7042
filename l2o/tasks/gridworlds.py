"""Eight small gridworlds as gymnax environments: collect the good objects, avoid the bad ones.

An agent walks in a walled rectangle among objects that are collected on contact, pay a reward,
may end the episode, and respawn at random. Importing this module registers the tasks, so that
``gymnax.make("small_dense_short")`` works.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

MOVES = np.array(
    [(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)], np.int32
)
"""Row and column change of each action: stay, up, right, down, left, and the four diagonals."""


class ObjectSpec(NamedTuple):
    """What collecting one object does, and how likely it reappears in each step without it."""

    reward: float
    terminate_prob: float
    respawn_prob: float


@dataclasses.dataclass(frozen=True)
class GridSpec:
    """The definition of one gridworld; ``rows`` and ``cols`` include the wall border."""

    name: str
    rows: int
    cols: int
    max_steps: int
    objects: tuple[ObjectSpec, ...]


def _spec(name: str, rows: int, cols: int) -> GridSpec:
    """Build the specification whose objects and time limit are those that its name says."""
    size, density, duration = name.split("_")
    copies = {"small": 1, "big": 2}[size]
    respawn_prob = {"sparse": 0.05, "dense": 0.5}[density]
    max_steps = {"short": 50, "long": 500}[duration]
    good, bad = ObjectSpec(1.0, 0.0, respawn_prob), ObjectSpec(-1.0, 0.5, respawn_prob)
    return GridSpec(name, rows, cols, max_steps, (good,) * copies + (bad,) * copies)


_SHAPES = {
    "small_sparse_short": (5, 10),
    "small_sparse_long": (10, 5),
    "small_dense_short": (6, 8),
    "small_dense_long": (8, 6),
    "big_sparse_short": (12, 14),
    "big_sparse_long": (14, 12),
    "big_dense_short": (11, 15),
    "big_dense_long": (15, 11),
}
SPECS: dict[str, GridSpec] = {name: _spec(name, *shape) for name, shape in _SHAPES.items()}


@struct.dataclass
class State(environment.EnvState):
    """Where everything is; positions are (row, column) and count the wall border.

    Attributes:
        time: Steps since the reset, int32 ().
        agent: Position of the agent, int32 (2,).
        objects: Positions of the objects, int32 (objects, 2); (-1, -1) when absent.
    """

    time: jax.Array
    agent: jax.Array
    objects: jax.Array


@struct.dataclass(kw_only=True)
class Params(environment.EnvParams):
    """What can be varied without recompiling, beside the inherited ``max_steps_in_episode``.

    Attributes:
        reward_scale: Factor on every reward.
        rewards: Reward for collecting each object, float32 (objects,).
        terminate_probs: Probability that collecting it ends the episode, float32 (objects,).
        respawn_probs: Probability per step that it reappears when absent, float32 (objects,).
    """

    reward_scale: float
    rewards: jax.Array
    terminate_probs: jax.Array
    respawn_probs: jax.Array


# Environments are static arguments of jit: being frozen, equal ones share a compiled step.
@dataclasses.dataclass(frozen=True)
class Gridworld(environment.Environment[State, Params]):
    """One gridworld; a time-out is reported as ``truncated``, not as ``terminated``.

    Termination is random and not part of the state: ``is_terminated`` is not implemented.

    Attributes:
        spec: The definition.
        interior: Leave the wall border, which is always empty, out of the observation.
    """

    spec: GridSpec
    interior: bool = False

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.spec.name

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return len(MOVES)

    @property
    def num_objects(self) -> int:
        """Number of objects, present or not."""
        return len(self.spec.objects)

    @property
    def default_params(self) -> Params:
        """The parameters of the specification."""
        rewards, terminate_probs, respawn_probs = jnp.array(self.spec.objects, jnp.float32).T
        return Params(
            max_steps_in_episode=self.spec.max_steps,
            reward_scale=1.0,
            rewards=rewards,
            terminate_probs=terminate_probs,
            respawn_probs=respawn_probs,
        )

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(
        self, key: jax.Array, state: State, action: int | jax.Array, params: Params | None = None
    ) -> tuple[jax.Array, State, jax.Array, jax.Array, jax.Array, dict[str, jax.Array]]:
        """Advance one step, and reset if the episode ended.

        The same as in the base class, with one hash call instead of three: 1.5 times as fast on a
        CPU. A subclass that changes ``step_env`` or ``reset_env`` has to change this too.

        Returns:
            Observation, state, reward, terminated, truncated, info. When the episode ended, the
            first two belong to the next one; its own last is ``info["final_observation"]``.
        """
        params = self.default_params if params is None else params
        uniforms = _uniforms(key, self.num_objects + self._reset_draws)
        for_step, for_reset = jnp.split(uniforms, [self.num_objects])
        last, reward, terminated = self._advance(for_step, state, action, params)
        first = self._place(for_reset)
        truncated = self.is_truncated(last, params)
        done = terminated | truncated
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), first, last)
        info = {
            "discount": 1.0 - terminated,
            "terminated": terminated,
            "truncated": truncated,
            "final_observation": self.get_obs(last),
        }
        return self.get_obs(state), state, reward, terminated, truncated, info

    def step_env(
        self, key: jax.Array, state: State, action: int | jax.Array, params: Params
    ) -> tuple[jax.Array, State, jax.Array, jax.Array, dict[str, jax.Array]]:
        """Advance one step, without time limit and reset."""
        uniforms = _uniforms(key, self.num_objects)
        state, reward, terminated = self._advance(uniforms, state, action, params)
        return self.get_obs(state), state, reward, terminated, {"discount": 1.0 - terminated}

    def reset_env(self, key: jax.Array, params: Params) -> tuple[jax.Array, State]:
        """Place the agent and all objects on distinct cells, uniformly."""
        state = self._place(_uniforms(key, self._reset_draws))
        return self.get_obs(state), state

    def get_obs(
        self, state: State, params: Params | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Draw a one-hot map of each object, empty when it is absent, and last of the agent.

        Returns:
            float32 (objects + 1, rows, cols).
        """
        channels, rows, cols = self._obs_shape
        row, col = jnp.vstack([state.objects, state.agent]).T - int(self.interior)
        maps = (row * cols + col)[:, None] == jnp.arange(rows * cols)
        return maps.astype(jnp.float32).reshape(channels, rows, cols)

    def action_space(self, params: Params | None = None) -> spaces.Discrete:
        """Nine moves, in the order of ``MOVES``."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: Params | None = None) -> spaces.Box:
        """Binary maps, float32 (objects + 1, rows, cols)."""
        return spaces.Box(0.0, 1.0, self._obs_shape, jnp.float32)

    @property
    def _obs_shape(self) -> tuple[int, int, int]:
        rows, cols = self._free_shape if self.interior else (self.spec.rows, self.spec.cols)
        return self.num_objects + 1, rows, cols

    @property
    def _free_shape(self) -> tuple[int, int]:
        return self.spec.rows - 2, self.spec.cols - 2

    @property
    def _reset_draws(self) -> int:
        return (self.num_objects + 2) // 2  # two of the 1 + num_objects cells from each number

    def _advance(
        self, uniforms: jax.Array, state: State, action: int | jax.Array, params: Params
    ) -> tuple[State, jax.Array, jax.Array]:
        """Move, collect, terminate and respawn with one uniform number per object.

        Objects do not depend on one another, so that all are handled at once.

        Returns:
            The new state, the reward, float32 (), and whether the episode terminated, bool ().
        """
        agent = self._move(state.agent, action)
        collected = (state.objects == agent).all(-1)
        absent = collected | (state.objects[:, 0] < 0)
        terminates, uniform = _decide(uniforms, params.terminate_probs)
        respawns, uniform = _decide(uniform, params.respawn_probs)
        total = math.prod(self._free_shape)
        # The division in _decide may round up to 1.
        cell = jnp.minimum((uniform * total).astype(jnp.int32), total - 1)
        respawned = jnp.where(respawns[:, None], self._position(cell), -1)
        objects = jnp.where(absent[:, None], respawned, state.objects)
        reward = params.reward_scale * jnp.where(collected, params.rewards, 0.0).sum()
        return State(state.time + 1, agent, objects), reward, (collected & terminates).any()

    def _move(self, agent: jax.Array, action: int | jax.Array) -> jax.Array:
        """Move the agent, int32 (2,); a wall stops the whole move, a diagonal one too."""
        target = agent + jnp.asarray(MOVES)[action]
        inside = (target >= 1) & (target <= np.array(self._free_shape, np.int32))
        return jnp.where(inside.all(), target, agent)

    def _place(self, uniforms: jax.Array) -> State:
        """Build a first state from ``_reset_draws`` uniform numbers."""
        count, total = self.num_objects + 1, math.prod(self._free_shape)
        positions = self._position(_distinct_cells(uniforms, count, total))
        return State(jnp.int32(0), positions[0], positions[1:])

    def _position(self, cell: jax.Array) -> jax.Array:
        """Turn indices of free cells, int32 (n,), into positions, int32 (n, 2)."""
        return 1 + jnp.stack(jnp.divmod(cell, self._free_shape[1]), axis=-1)


def register() -> None:
    """Register the gridworlds with gymnax under their names, unless they are already."""
    for name, spec in SPECS.items():
        if name not in gymnax.registered_envs:
            gymnax.register(name, functools.partial(Gridworld, spec))


def _uniforms(key: jax.Array, count: int) -> jax.Array:
    """Draw float32 (count,) in [0, 1), two per hash block, where ``jax.random`` gives one."""
    words = jax.random.key_data(jax.random.split(key, (count + 1) // 2)).reshape(-1)[:count]
    return (words >> 8).astype(jnp.float32) * 2.0**-24


def _decide(uniform: jax.Array, prob: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Turn a uniform number into an event of probability ``prob`` and a new uniform number.

    The two are independent. An event of probability 0 never happens.
    """
    event = uniform < prob
    return event, jnp.where(event, uniform / prob, (uniform - prob) / (1.0 - prob))


def _distinct_cells(uniforms: jax.Array, count: int, total: int) -> jax.Array:
    """Draw distinct cells below ``total``, int32 (count,), two from each uniform number."""
    cells: list[jax.Array] = []
    taken: list[jax.Array] = []  # the same, ascending; kept so by comparisons, which fuse
    for i in range(count):
        if i % 2 == 0:
            rest = uniforms[i // 2]
        scaled = rest * (total - i)
        cell = scaled.astype(jnp.int32)
        rest = scaled - cell
        for other in taken:
            cell = cell + (cell >= other)
        cells.append(cell)
        for j, other in enumerate(taken):
            taken[j], cell = jnp.minimum(cell, other), jnp.maximum(cell, other)
        taken.append(cell)
    return jnp.stack(cells)


register()

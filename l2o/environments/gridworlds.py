"""Eight small gridworlds as gymnax environments: collect the good objects, avoid the bad ones.

An agent walks in a walled rectangle among objects that are collected on contact, pay a reward,
may end the episode, and respawn at random. Importing this module registers the tasks, so that
``gymnax.make("small_dense_short")`` works.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.environments.gridworld_base import (
    MOVES,
    GridworldBase,
    Params,
    State,
    one_hot_maps,
    register,
)


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


@dataclasses.dataclass(frozen=True)
class Gridworld(GridworldBase):
    """One of the eight gridworlds.

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

    def get_obs(
        self, state: State, params: Params | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Draw a one-hot map of each object, empty when it is absent, and last of the agent.

        Returns:
            float32 (objects + 1, rows, cols).
        """
        _, rows, cols = self._obs_shape
        return one_hot_maps(state, rows, cols, int(self.interior))

    @property
    def _obs_shape(self) -> tuple[int, int, int]:
        rows, cols = self._free_shape if self.interior else (self.spec.rows, self.spec.cols)
        return self.num_objects + 1, rows, cols

    @property
    def _free_shape(self) -> tuple[int, int]:
        return self.spec.rows - 2, self.spec.cols - 2

    def _num_cells(self, params: Params) -> int:
        return math.prod(self._free_shape)

    def _position(self, index: jax.Array, params: Params) -> jax.Array:
        return 1 + jnp.stack(jnp.divmod(index, self._free_shape[1]), axis=-1)

    def _move(self, agent: jax.Array, action: int | jax.Array, params: Params) -> jax.Array:
        target = agent + jnp.asarray(MOVES)[action]
        inside = (target >= 1) & (target <= np.array(self._free_shape, np.int32))
        return jnp.where(inside.all(), target, agent)


register(Gridworld, SPECS)

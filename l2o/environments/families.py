"""Families of random gridworlds as gymnax environments: every draw of the parameters is a world.

A world is a rectangle with inner walls, some objects, and a time limit. Worlds of one family have
the same shapes, so that one compiled program serves all, thousands at a time. Importing this
module registers the families, so that ``gymnax.make("gridworld_family")`` works; who wants more
than its one default world calls ``draw_params``.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from l2o.environments.gridworld_base import (
    MOVES,
    GridworldBase,
    Params,
    State,
    draw_uniforms,
    one_hot_maps,
    register,
)


@dataclasses.dataclass(frozen=True)
class FamilySpec:
    """The ranges that the worlds of a family are drawn from, both ends included.

    Attributes:
        name: Name of the family.
        rows: Rows of cells, walls among them but not the border; uniform.
        cols: Columns; uniform.
        objects: Number of objects; uniform. The first is good, each other one good or bad with
            equal probability.
        horizon: Steps after which an episode is truncated; log-uniform.
        wall_share: Share of the cells that are inner walls, at most a half; uniform.
        reward_size: Absolute value of an object's reward; log-uniform.
        good_terminate_prob: Probability that collecting a good object ends the episode; uniform.
        bad_terminate_prob: The same of a bad one.
        respawn_prob: Probability per step that an absent object reappears; log-uniform.
    """

    name: str
    rows: tuple[int, int] = (4, 8)
    cols: tuple[int, int] = (4, 8)
    objects: tuple[int, int] = (1, 4)
    horizon: tuple[int, int] = (20, 500)
    wall_share: tuple[float, float] = (0.0, 0.4)
    reward_size: tuple[float, float] = (0.5, 2.0)
    good_terminate_prob: tuple[float, float] = (0.0, 0.2)
    bad_terminate_prob: tuple[float, float] = (0.0, 1.0)
    respawn_prob: tuple[float, float] = (0.02, 0.5)

    def __post_init__(self) -> None:
        if self.wall_share[1] > 0.5:
            raise ValueError("wall_share must not exceed 0.5")
        fewest = self.rows[0] * self.cols[0]
        if fewest - int(self.wall_share[1] * fewest) <= self.objects[1]:
            raise ValueError("the agent and the objects do not fit into the smallest world")


SPECS: dict[str, FamilySpec] = {
    spec.name: spec
    for spec in (
        FamilySpec(
            "gridworld_family_small",
            rows=(2, 4),
            cols=(3, 6),
            objects=(2, 2),
            horizon=(20, 60),
            wall_share=(0.0, 0.0),
            good_terminate_prob=(0.0, 0.0),
        ),
        FamilySpec("gridworld_family"),
    )
}


@struct.dataclass(kw_only=True)
class World(Params):
    """One world of a family. An object that it lacks has zeros and never appears.

    Attributes:
        walls: Where one cannot stand: inner walls and all that is not inside, bool (max_rows + 2,
            max_cols + 2); counts the border, as positions do.
        open_cells: Positions of the other cells in any order, followed by those of the walls that
            are not on the border, int32 (max_rows * max_cols, 2).
        num_open: Number of the other cells, int32 ().
        num_objects: Number of objects, int32 ().
        shape: Rows and columns inside the border, int32 (2,).
    """

    walls: jax.Array
    open_cells: jax.Array
    num_open: jax.Array
    num_objects: jax.Array
    shape: jax.Array


@dataclasses.dataclass(frozen=True)
class GridworldFamily(GridworldBase):
    """A family of gridworlds.

    Attributes:
        spec: What its worlds are drawn from.
    """

    spec: FamilySpec

    @property
    def name(self) -> str:
        """Name of the family."""
        return self.spec.name

    @property
    def num_objects(self) -> int:
        """Largest number of objects."""
        return self.spec.objects[1]

    @property
    def default_params(self) -> World:
        """A world, always the same."""
        return self.draw_params(jax.random.key(0))

    @functools.partial(jax.jit, static_argnames=("self",))
    def draw_params(self, key: jax.Array) -> World:
        """Draw a world."""
        spec, n = self.spec, self.num_objects
        max_rows, max_cols = self._max_shape
        u = draw_uniforms(key, 5 + 4 * n + max_rows * max_cols)
        per_object = u[5 : 5 + 4 * n].reshape(4, n)
        shape = jnp.stack([_integer(u[0], spec.rows), _integer(u[1], spec.cols)])
        num_objects = _integer(u[2], spec.objects)
        low, high = spec.horizon
        horizon = _log_between(u[3], (low, high + 1)).astype(jnp.int32)
        present = jnp.arange(n) < num_objects
        good = (per_object[0] < 0.5) | (jnp.arange(n) == 0)
        size = _log_between(per_object[1], spec.reward_size)
        terminate_probs = jnp.where(
            good,
            _between(per_object[2], spec.good_terminate_prob),
            _between(per_object[2], spec.bad_terminate_prob),
        )
        respawn_probs = _log_between(per_object[3], spec.respawn_prob)
        return World(
            max_steps_in_episode=jnp.clip(horizon, low, high),
            reward_scale=jnp.float32(1.0),
            rewards=present * jnp.where(good, size, -size),
            terminate_probs=present * terminate_probs,
            respawn_probs=present * respawn_probs,
            num_objects=num_objects,
            shape=shape,
            **self._draw_cells(u[5 + 4 * n :], shape, _between(u[4], spec.wall_share)),
        )

    def get_obs(
        self, state: State, params: World | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Draw a one-hot map of each object, empty when it is absent, the agent, and the walls.

        Returns:
            float32 (objects + 2, max_rows, max_cols).
        """
        params = self.default_params if params is None else params
        maps = one_hot_maps(state, *self._max_shape, offset=1)
        return jnp.concatenate([maps, params.walls[None, 1:-1, 1:-1].astype(jnp.float32)])

    @property
    def _max_shape(self) -> tuple[int, int]:
        return self.spec.rows[1], self.spec.cols[1]

    @property
    def _obs_shape(self) -> tuple[int, int, int]:
        return self.num_objects + 2, *self._max_shape

    def _draw_cells(
        self, uniforms: jax.Array, shape: jax.Array, wall_share: jax.Array
    ) -> dict[str, jax.Array]:
        """Draw inner walls; return the fields of :class:`World` about cells."""
        cells = jnp.arange(uniforms.size)
        row, col = jnp.divmod(cells, self._max_shape[1])
        inside = (row < shape[0]) & (col < shape[1])
        # Inside in random order, then outside; the last ones inside become walls.
        order = jnp.argsort(jnp.where(inside, uniforms, 2.0))
        total = shape[0] * shape[1]
        num_open = total - (wall_share * total).astype(jnp.int32)
        walls = jnp.zeros(cells.size, bool).at[order].set(cells >= num_open)
        return {
            "walls": jnp.pad(walls.reshape(self._max_shape), 1, constant_values=True),
            "open_cells": 1 + jnp.stack([row, col], axis=-1)[order],
            "num_open": num_open,
        }

    def _num_cells(self, params: World) -> jax.Array:
        return params.num_open

    def _position(self, index: jax.Array, params: World) -> jax.Array:
        return params.open_cells[index]

    def _move(self, agent: jax.Array, action: int | jax.Array, params: World) -> jax.Array:
        target = agent + jnp.asarray(MOVES)[action]
        return jnp.where(params.walls[target[0], target[1]], agent, target)

    def _place(self, uniforms: jax.Array, params: World) -> State:
        state = super()._place(uniforms, params)
        present = jnp.arange(self.num_objects) < params.num_objects
        return state.replace(objects=jnp.where(present[:, None], state.objects, -1))


def _integer(uniform: jax.Array, bounds: tuple[int, int]) -> jax.Array:
    """Turn numbers in [0, 1) into integers between bounds."""
    low, high = bounds
    return low + (uniform * (high + 1 - low)).astype(jnp.int32)


def _between(uniform: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    """Turn numbers in [0, 1) into numbers uniform between bounds."""
    low, high = bounds
    return low + uniform * (high - low)


def _log_between(uniform: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    """Turn numbers in [0, 1) into numbers log-uniform between bounds."""
    low, high = bounds
    return low * (high / low) ** uniform


register(GridworldFamily, SPECS)

"""What every learned optimizer is: meta-parameters in, an optax transformation out."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.errors import MissingInputError
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.blocks import in_blocks
from l2o.optimizers.parts.dormancy import dormancy
from l2o.optimizers.parts.layers import describe

Tree = Any

_BLOCK = 8192
"""Parameters that are handled together on a CPU; what is computed of them fits the cache."""
_LARGE = 2**18
"""Parameters from which on they are handled in blocks: it saves memory, not time."""


class LearnedOptimizer(abc.ABC):
    """A learned optimizer: a family of optax transformations indexed by meta-parameters.

    Attributes:
        name: Its name in the registry.
        coordinate_wise: Whether each parameter is updated from its own gradient and state alone,
            so that a caller may hand over one flat vector instead of a tree.
        reads: The extra arguments of ``update`` that it reads and that take work to provide:
            ``"activations"``, ``"batch_progress"``, ``"key"``. Who trains agents provides these,
            and no others; all have usable defaults.
    """

    name: ClassVar[str]
    coordinate_wise: ClassVar[bool] = False
    reads: ClassVar[frozenset[str]] = frozenset()

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The constructor's arguments, as stored with the weights."""
        return dataclasses.asdict(self)

    @abc.abstractmethod
    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters, a tree of float32 arrays."""

    @abc.abstractmethod
    def transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule = 1.0
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optax transformation; pure, and differentiable in ``meta_params``.

        Args:
            meta_params: From :meth:`init_meta`, meta-training, or a weight file.
            learning_rate: Multiplies the update; a number, a traced scalar or a schedule.
        """


class Clock(NamedTuple):
    """Where in training an update is."""

    count: jax.Array  # [] float32, updates before this one
    progress: jax.Array  # [] float32, share of training that is over; 0 where it is not known


class CoordinateWiseState(NamedTuple):
    """State of a coordinate-wise optimizer."""

    count: jax.Array  # shape=(), dtype=int32: steps taken
    hidden: Tree  # arrays [features, parameters], dtype=float32


class CoordinateWise(LearnedOptimizer):
    """A learned optimizer that applies one small network to every parameter.

    A subclass gives the equations: :meth:`init_hidden` and :meth:`direction`. This class handles
    trees, dtypes, clipping, the learning rate and the optax contract.
    """

    coordinate_wise = True
    grad_clip: float | None
    mlp_sizes: tuple[int, ...]
    unit_rms = False  # where it is a setting: divide the step by its root mean square

    def __post_init__(self) -> None:
        """Check the settings that all subclasses have."""
        check_grad_clip(self.grad_clip)
        if not isinstance(self.mlp_sizes, tuple) or not all(map(_is_size, self.mlp_sizes)):
            raise ValueError(f"mlp_sizes must be positive integers; got {self.mlp_sizes!r}")

    @abc.abstractmethod
    def init_hidden(self, meta_params: Tree, parameters: int) -> Tree:
        """Return the hidden state before the first step, arrays ``[features, parameters]``."""

    @abc.abstractmethod
    def direction(
        self, meta_params: Tree, hidden: Tree, g: jax.Array, clock: Clock
    ) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step that is subtracted, per learning rate.

        One that reads activations has one more argument, the dormancy of every parameter's unit,
        ``[P]`` float32.

        Args:
            meta_params: The meta-parameters.
            hidden: Hidden state, arrays ``[features, P]``.
            g: Clipped gradient, ``[P]`` float32.
            clock: When.
        """

    def transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule = 1.0
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optax transformation; see :class:`LearnedOptimizer`."""

        def init_fn(params: Tree) -> CoordinateWiseState:
            size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))
            return CoordinateWiseState(
                jnp.zeros((), jnp.int32), self.init_hidden(meta_params, size)
            )

        def update_fn(
            updates: Tree,
            state: CoordinateWiseState,
            params: Tree = None,
            *,
            progress: jax.Array | float = 0.0,
            activations: Tree = None,
            **extra_args: Any,
        ) -> tuple[Tree, CoordinateWiseState]:
            del params, extra_args
            leaves, structure = jax.tree.flatten(updates)
            if not leaves:
                return updates, state
            g = processing.clip(jax.lax.stop_gradient(ravel(leaves)), self.grad_clip)
            clock = Clock(state.count.astype(jnp.float32), jnp.asarray(progress, jnp.float32))
            units = ()
            if "activations" in self.reads:
                units = (dormancy(self.name, describe(updates), activations),)
            hidden, step = self._evaluate(meta_params, state.hidden, g, clock, *units)
            rate = rate_at(learning_rate, state.count)
            if self.unit_rms:
                rate = rate * jax.lax.rsqrt(jnp.mean(step * step) + 1e-16)
            updates = jax.tree.unflatten(structure, unravel(-rate * step, leaves))
            return updates, CoordinateWiseState(optax.safe_increment(state.count), hidden)

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)

    def _evaluate(
        self, meta_params: Tree, hidden: Tree, g: jax.Array, clock: Clock, *units: jax.Array
    ) -> tuple[Tree, jax.Array]:
        """Return :meth:`direction`, in blocks where it would need much memory."""
        if g.size < _LARGE or jax.default_backend() != "cpu":
            return self.direction(meta_params, hidden, g, clock, *units)
        return in_blocks(self._direction_of_block, _BLOCK, (meta_params, clock), hidden, g, units)

    def _direction_of_block(
        self, shared: tuple, hidden: Tree, g: jax.Array, *units: jax.Array
    ) -> tuple:
        meta_params, clock = shared
        return self.direction(meta_params, hidden, g, clock, *units)


def rate_at(learning_rate: optax.ScalarOrSchedule, count: jax.Array) -> jax.Array | float:
    """Return the learning rate after ``count`` steps."""
    return learning_rate(count) if callable(learning_rate) else learning_rate


def require_params(name: str, params: Tree) -> None:
    """Raise MissingInputError if ``update`` of the optimizer ``name`` got no parameters."""
    if params is None:
        raise MissingInputError(
            f"optimizer '{name}' needs the parameters: call update(updates, state, params)."
        )


def check_grad_clip(bound: Any) -> None:
    """Raise ValueError unless ``bound`` is positive or ``None``."""
    if bound is not None and not bound > 0:
        raise ValueError(f"grad_clip must be positive or None; got {bound!r}")


def check_size(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a positive integer."""
    if not _is_size(value):
        raise ValueError(f"{name} must be a positive integer; got {value!r}")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def ravel(leaves: list[jax.Array]) -> jax.Array:
    """Concatenate leaves into one float32 vector."""
    flat = [jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves]
    return flat[0] if len(flat) == 1 else jnp.concatenate(flat)


def unravel(vector: jax.Array, like: list[jax.Array]) -> list[jax.Array]:
    """Split a vector into leaves of the given shapes and dtypes."""
    out, start = [], 0
    for leaf in like:
        part = jax.lax.slice_in_dim(vector, start, start + leaf.size)
        out.append(part.reshape(leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return out

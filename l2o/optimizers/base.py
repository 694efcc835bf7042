"""What every learned optimizer is: meta-parameters in, an optax transformation out."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.errors import MissingInputError
from l2o.optimizers.parts import flags, processing, sharding
from l2o.optimizers.parts.blocks import in_blocks
from l2o.optimizers.parts.dormancy import dormancy
from l2o.optimizers.parts.host import hosted, user_rate
from l2o.optimizers.parts.layers import describe
from l2o.optimizers.parts.leaves import as_float32

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
        reads_params: Whether ``update`` needs the parameters.
    """

    name: ClassVar[str]
    coordinate_wise: ClassVar[bool] = False
    reads: ClassVar[frozenset[str]] = frozenset()
    reads_params: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let meta-parameters be float32 whatever JAX's settings are."""
        super().__init_subclass__(**kwargs)
        if "init_meta" in vars(cls):
            cls.init_meta = flags.under_defaults(cls.init_meta)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The constructor's arguments, as stored with the weights."""
        return dataclasses.asdict(self)

    @abc.abstractmethod
    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters, a tree of float32 arrays."""

    def transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule = 1.0
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optax transformation; pure, and differentiable in ``meta_params``.

        Its ``init`` and ``update`` raise LeafError for leaves that cannot be trained.

        Args:
            meta_params: From :meth:`init_meta`, meta-training, or a weight file.
            learning_rate: Multiplies the update; a number, a traced scalar or a schedule.
        """
        meta_params = jax.tree.map(as_float32, meta_params)
        inner = self._transform(meta_params, user_rate(learning_rate))
        return hosted(self.name, self.reads_params, inner)

    def _transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule
    ) -> optax.GradientTransformationExtraArgs:
        """Return the transformation of float32 arrays, which :meth:`transform` makes one of any.

        Its ``init`` gets shapes for them; ``params`` has the tree of the gradients.
        """
        raise NotImplementedError


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

    def _transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule
    ) -> optax.GradientTransformationExtraArgs:
        """Return the transformation of float32 trees; see :class:`LearnedOptimizer`."""

        def init_fn(params: Tree) -> CoordinateWiseState:
            leaves = jax.tree.leaves(params)
            if self.coordinate_wise and any(map(sharding.is_split, leaves)):
                hidden = sharding.Shards.of(leaves).init(self.init_hidden, meta_params)
            else:
                hidden = self.init_hidden(meta_params, sum(leaf.size for leaf in leaves))
            return CoordinateWiseState(jnp.zeros((), jnp.int32), hidden)

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
            clock = Clock(state.count.astype(jnp.float32), jnp.asarray(progress, jnp.float32))
            shared, rate = (meta_params, clock), rate_at(learning_rate, state.count)
            if sharding.is_cut(state.hidden):
                hidden, steps = self._on_shards(shared, state.hidden, leaves)
            else:
                units = ()
                if "activations" in self.reads:
                    units = (dormancy(self.name, describe(updates), activations),)
                hidden, step = self._evaluate(shared, state.hidden, ravel(leaves), *units)
                steps = [step]
            if self.unit_rms:
                rate = rate * jax.lax.rsqrt(_mean_square(steps) + 1e-16)
            steps = [-rate * step for step in steps]
            if not sharding.is_cut(state.hidden):
                steps = unravel(steps[0], leaves)
            count = optax.safe_increment(state.count)
            return jax.tree.unflatten(structure, steps), CoordinateWiseState(count, hidden)

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)

    def _on_shards(self, shared: tuple, hidden: Tree, leaves: list[jax.Array]) -> tuple:
        """Return the next hidden state, cut, and the steps of the leaves."""
        lie_as = jax.tree.leaves(hidden)[: len(leaves)]  # the parts of one array
        shards = sharding.Shards.of(lie_as, lead=1)
        if shards is None:  # a state that was read from a file, or by one device
            shards = sharding.Shards.of(leaves)
        if shards is None:
            return sharding.on_leaves(self._evaluate, shared, hidden, leaves)
        return shards.update(self._evaluate, shared, hidden, leaves)

    def _evaluate(
        self, shared: tuple, hidden: Tree, g: jax.Array, *units: jax.Array
    ) -> tuple[Tree, jax.Array]:
        """Return :meth:`direction`, in blocks where it would need much memory."""
        g = processing.clip(jax.lax.stop_gradient(g), self.grad_clip)
        meta_params, clock = shared
        if g.size < _LARGE or jax.default_backend() != "cpu":
            return self.direction(meta_params, hidden, g, clock, *units)
        return in_blocks(self._direction_of_block, _BLOCK, shared, hidden, g, units)

    def _direction_of_block(
        self, shared: tuple, hidden: Tree, g: jax.Array, *units: jax.Array
    ) -> tuple:
        meta_params, clock = shared
        return self.direction(meta_params, hidden, g, clock, *units)


def _mean_square(steps: list[jax.Array]) -> jax.Array:
    if len(steps) == 1:
        return jnp.mean(steps[0] * steps[0])
    return sum(jnp.sum(step * step) for step in steps) / sum(step.size for step in steps)


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

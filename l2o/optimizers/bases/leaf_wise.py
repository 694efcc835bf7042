"""What optimizers share that see each leaf of the parameters as a whole."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.optimizers.base import LearnedOptimizer, rate_at, require_params
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.packing import Packing

Tree = Any


class LeafWiseState(NamedTuple):
    """State of a leaf-wise optimizer."""

    count: jax.Array  # shape=(), dtype=int32: steps taken
    inner: Tree  # arrays [..., elements], dtype=float32, in packed order, and others


class Inputs(NamedTuple):
    """What an optimizer sees at one step."""

    g: Any  # [elements], float32, as `at` packs it: clipped gradient, a stop-gradient
    p: Any  # the same: parameters before the step
    at: Any  # to which leaves the elements belong; scalars have shape (1,), no leaf is empty
    count: jax.Array  # shape=(), dtype=int32: steps taken before
    rate: jax.Array | float  # learning rate
    value: jax.Array | None  # shape=(), float32: the loss, if the caller gives it
    progress: jax.Array | None  # shape=(), float32: share of training done, if the caller gives it
    batch_progress: jax.Array | None = None  # the same of the epochs on the current batch
    tree: Tree = None  # the gradients as they were given, for their paths and shapes


class LeafWise(LearnedOptimizer):
    """A learned optimizer whose features compare the elements of a leaf with each other.

    A subclass gives the equations: :meth:`init_state` and :meth:`step`. This class handles trees,
    dtypes, clipping, the learning rate and the optax contract. ``update`` needs the parameters; of
    the extra arguments it passes ``value``, ``progress`` and ``batch_progress`` on.
    """

    reads_params = True
    packing: ClassVar[type] = Packing
    grad_clip: float | None

    def __post_init__(self) -> None:
        """Check the settings that all subclasses have."""
        if self.grad_clip is not None:
            self._require_positive("grad_clip")

    def _require_positive(self, *names: str) -> None:
        self._require(names, "a positive number", lambda x: _is_number(x) and x > 0)

    def _require_numbers(self, *names: str) -> None:
        self._require(names, "a number of at least 0", lambda x: _is_number(x) and x >= 0)

    def _require_decays(self, *names: str) -> None:
        self._require(names, "in [0, 1)", lambda x: _is_number(x) and 0 <= x < 1)

    def _require_sizes(self, *names: str) -> None:
        self._require(names, "a positive integer", lambda x: type(x) is int and x > 0)

    def _require_flags(self, *names: str) -> None:
        self._require(names, "true or false", lambda x: x in (True, False))

    def _require(self, names: tuple[str, ...], wanted: str, allowed: Callable[[Any], bool]) -> None:
        """Raise unless these settings have an allowed value."""
        for name in names:
            if not allowed(value := getattr(self, name)):
                raise ValueError(f"{name} must be {wanted}; got {value!r}")

    def _packing(self, leaves: list[jax.Array]) -> Any:
        return self.packing([leaf.shape or (1,) for leaf in leaves])

    @abc.abstractmethod
    def init_state(self, meta_params: Tree, at: Packing) -> Tree:
        """Return the state before the first step."""

    @abc.abstractmethod
    def step(self, meta_params: Tree, state: Tree, inputs: Inputs) -> tuple[Tree, jax.Array]:
        """Return the next state and the step that is subtracted, ``[elements]``."""

    def _transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule
    ) -> optax.GradientTransformationExtraArgs:
        """Return the transformation of float32 trees; see :class:`LearnedOptimizer`."""

        def init_fn(params: Tree) -> LeafWiseState:
            at = self._packing(_filled(jax.tree.leaves(params)))
            return LeafWiseState(jnp.zeros((), jnp.int32), self.init_state(meta_params, at))

        def update_fn(
            updates: Tree,
            state: LeafWiseState,
            params: Tree = None,
            *,
            value: Any = None,
            progress: Any = None,
            batch_progress: Any = None,
            **extra_args: Any,
        ) -> tuple[Tree, LeafWiseState]:
            del extra_args
            leaves, structure = jax.tree.flatten(updates)
            filled = _filled(leaves)
            if not filled:
                return updates, state
            require_params(self.name, params)
            at = self._packing(filled)
            packed = jax.lax.stop_gradient(at.pack(filled))
            g = jax.tree.map(lambda x: processing.clip(x, self.grad_clip), packed)
            p = at.pack(_filled(jax.tree.leaves(params)))
            rate = rate_at(learning_rate, state.count)
            told = map(_constant, (value, progress, batch_progress))
            inputs = Inputs(g, p, at, state.count, rate, *told, updates)
            inner, step = self.step(meta_params, state.inner, inputs)
            moved = iter(at.unpack(jax.tree.map(jnp.negative, step)))
            updates = [next(moved).reshape(g.shape) if g.size else g for g in leaves]
            count = optax.safe_increment(state.count)
            return jax.tree.unflatten(structure, updates), LeafWiseState(count, inner)

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _filled(leaves: list[jax.Array]) -> list[jax.Array]:
    """Return the leaves that have elements: the others have nothing to move, and no mean."""
    return [leaf for leaf in leaves if leaf.size]


def _constant(number: Any) -> jax.Array | None:
    """Return a float32 scalar through which no gradient flows."""
    return None if number is None else jax.lax.stop_gradient(jnp.asarray(number, jnp.float32))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

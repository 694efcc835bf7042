"""Statistics of the gradients that an optimizer sees, collected in its state in bounded memory.

The recorder wraps any optax transformation of flat vectors, so that whatever trains agents also
records them. Histograms follow the paper's figures of ``log10 |g|``.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.evaluation.candidates import Program
from l2o.statistics.columns.gradients import BIN_WIDTH

Tree = Any

LOWEST, HIGHEST = -20.0, 5.0
"""Range of the bins of log10 |g|; what lies outside counts in the outermost bin."""
BINS = round((HIGHEST - LOWEST) / BIN_WIDTH)
LAGS = (1, 2, 4, 8, 16, 32)
"""Steps of the optimizer over which gradients are compared with earlier ones."""


class Statistics(NamedTuple):
    """What is known of the gradients of one agent with ``P`` parameters in ``T`` tensors."""

    steps: jax.Array  # [phases] int32, gradients seen
    histogram: jax.Array  # [phases, T, 2, BINS] int32, of log10 |g|: negative g, then positive
    zeros: jax.Array  # [phases, T] int32, exact zeros
    lost: jax.Array  # [phases, T] int32, values that are not finite
    pairs: jax.Array  # [phases, lags] int32, gradients that were compared with earlier ones
    cosine: jax.Array  # [phases, lags] float32, sum of their cosines
    correlation: jax.Array  # [phases, lags] float32, sum of the correlations of log10 |g|
    samples: jax.Array  # [phases, window, coordinates] float32, the first gradients of each phase
    recent: jax.Array  # [longest lag, P] float32, a ring of the last gradients


class RecorderState(NamedTuple):
    """State of the wrapped optimizer and what was recorded."""

    inner: Tree
    seen: Statistics


@dataclasses.dataclass(frozen=True)
class Recorder:
    """How much is recorded.

    Attributes:
        phases: Equal parts of a lifetime, each with statistics of its own.
        window: Gradients at the beginning of each phase of which coordinates are kept.
        coordinates: How many, spread evenly over the parameters.
    """

    phases: int = 3
    window: int = 64
    coordinates: int = 256

    def wrap(
        self, tx: optax.GradientTransformationExtraArgs, unravel: Callable[[jax.Array], Tree]
    ) -> optax.GradientTransformationExtraArgs:
        """Return a transformation that does the same, and records; see :class:`RecorderState`.

        Args:
            tx: A transformation of flat vectors ``[P]``. It gets ``progress``, the share of the
                lifetime that is over, which tells the phase.
            unravel: Function from a flat vector to the agent's parameters, for the tensors.
        """

        def init_fn(params: jax.Array) -> RecorderState:
            return RecorderState(tx.init(params), self._empty(params, unravel))

        def update_fn(
            updates: jax.Array,
            state: RecorderState,
            params: jax.Array | None = None,
            *,
            progress: jax.Array | float = 0.0,
            **extra_args: Any,
        ) -> tuple[jax.Array, RecorderState]:
            seen = self._record(state.seen, updates, progress, unravel)
            updates, inner = tx.update(
                updates, state.inner, params, progress=progress, **extra_args
            )
            return updates, RecorderState(inner, seen)

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)

    def _empty(self, params: jax.Array, unravel: Callable) -> Statistics:
        tensors, phases = len(tensor_names(unravel, params.size)), self.phases
        kept = len(self._kept(params.size))
        return Statistics(
            steps=jnp.zeros(phases, jnp.int32),
            histogram=jnp.zeros((phases, tensors, 2, BINS), jnp.int32),
            zeros=jnp.zeros((phases, tensors), jnp.int32),
            lost=jnp.zeros((phases, tensors), jnp.int32),
            pairs=jnp.zeros((phases, len(LAGS)), jnp.int32),
            cosine=jnp.zeros((phases, len(LAGS))),
            correlation=jnp.zeros((phases, len(LAGS))),
            samples=jnp.full((phases, self.window, kept), jnp.nan),
            recent=jnp.zeros((max(LAGS), params.size)),
        )

    def _kept(self, parameters: int) -> np.ndarray:
        number = min(self.coordinates, parameters)
        return np.arange(number) * parameters // number

    def _record(
        self, seen: Statistics, g: jax.Array, progress: jax.Array | float, unravel: Callable
    ) -> Statistics:
        phase = jnp.clip(jnp.floor(progress * self.phases), 0, self.phases - 1).astype(jnp.int32)
        tensor, sizes = tensor_index(unravel, g.size)
        known, zero = jnp.isfinite(g), g == 0
        bins = bin_of(g)
        place = (tensor * 2 + (g > 0)) * BINS + bins
        flat = jnp.zeros(len(sizes) * 2 * BINS, jnp.int32)
        counts = flat.at[place].add((known & ~zero).astype(jnp.int32))
        # Comparisons only with gradients of this lifetime.
        before = seen.steps.sum()
        lags = jnp.array(LAGS)
        earlier = seen.recent[(before - lags) % len(seen.recent)]
        cosine, correlation = jax.vmap(lambda old: _alike(g, old))(earlier)
        usable = (before >= lags) & jnp.isfinite(cosine) & jnp.isfinite(correlation)
        count = seen.steps[phase]
        row = jnp.where(count < self.window, g[self._kept(g.size)], 0.0)
        row = jnp.where(
            count < self.window, row, seen.samples[phase, jnp.minimum(count, self.window - 1)]
        )
        return Statistics(
            steps=seen.steps.at[phase].add(1),
            histogram=seen.histogram.at[phase].add(counts.reshape(len(sizes), 2, BINS)),
            zeros=seen.zeros.at[phase].add(_per_tensor(zero, sizes)),
            lost=seen.lost.at[phase].add(_per_tensor(~known, sizes)),
            pairs=seen.pairs.at[phase].add(usable.astype(jnp.int32)),
            cosine=seen.cosine.at[phase].add(jnp.where(usable, cosine, 0.0)),
            correlation=seen.correlation.at[phase].add(jnp.where(usable, correlation, 0.0)),
            samples=seen.samples.at[phase, jnp.minimum(count, self.window - 1)].set(row),
            recent=seen.recent.at[before % len(seen.recent)].set(g),
        )


@dataclasses.dataclass(frozen=True)
class RecordingProgram(Program):
    """A program whose optimizer also records the gradients that it sees.

    Attributes:
        recorder: How much it records.
    """

    recorder: Recorder = Recorder()

    def transform(
        self, values: Tree, unravel: Callable[[jax.Array], Tree]
    ) -> optax.GradientTransformationExtraArgs:
        """Return one candidate's transformation; its state is a :class:`RecorderState`."""
        return self.recorder.wrap(super().transform(values, unravel), unravel)


def tensor_names(unravel: Callable[[jax.Array], Tree], parameters: int) -> list[str]:
    """Return the names of the tensors of a flat vector, ``layer/kernel``, in their order."""
    shapes = jax.eval_shape(unravel, jax.ShapeDtypeStruct((parameters,), jnp.float32))
    leaves, _ = jax.tree.flatten_with_path(shapes)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def tensor_index(unravel: Callable, parameters: int) -> tuple[np.ndarray, list[int]]:
    """Return the number of each parameter's tensor, int ``[P]``, and the tensors' sizes."""
    shapes = jax.eval_shape(unravel, jax.ShapeDtypeStruct((parameters,), jnp.float32))
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes)]
    return np.repeat(np.arange(len(sizes)), sizes), sizes


def bin_of(g: jax.Array) -> jax.Array:
    """Return the bin of each value's log10 |g|, int32; any bin for zero and NaN."""
    exponent = jnp.log10(jnp.maximum(jnp.abs(g), 10.0**LOWEST))
    # A value on an edge belongs above it, whatever the rounding.
    bins = jnp.floor((exponent - LOWEST) / BIN_WIDTH + 1e-4)
    return jnp.clip(jnp.nan_to_num(bins), 0, BINS - 1).astype(jnp.int32)


def _per_tensor(flags: jax.Array, sizes: list[int]) -> jax.Array:
    """Count true values in each tensor of a flat vector, int32 ``[T]``."""
    parts = jnp.split(flags.astype(jnp.int32), np.cumsum(sizes)[:-1])
    return jnp.stack([part.sum() for part in parts])


def _alike(g: jax.Array, old: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the cosine of two gradients, and the correlation of their log magnitudes."""
    norms = jnp.linalg.norm(g) * jnp.linalg.norm(old)
    cosine = jnp.vdot(g, old) / jnp.maximum(norms, 1e-30)
    both = (g != 0) & (old != 0)
    x, y = (jnp.log(jnp.where(both, jnp.abs(v), 1.0)) for v in (g, old))
    number = jnp.maximum(both.sum(), 1)
    x, y = (jnp.where(both, v - v.sum() / number, 0.0) for v in (x, y))
    spread = jnp.sqrt(jnp.sum(x * x) * jnp.sum(y * y))
    return cosine, jnp.sum(x * y) / jnp.maximum(spread, 1e-30)

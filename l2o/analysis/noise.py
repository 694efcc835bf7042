"""Signal and noise of gradients at fixed parameters, against a large-batch estimate of the truth.

The gradient noise scale is that of McCandlish et al., "An Empirical Model of Large-Batch Training"
(2018), appendix A.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.evaluation.candidates import Program

Tree = Any


class Moments(NamedTuple):
    """Sums over the gradients of one agent whose parameters stay as they are."""

    steps: jax.Array  # [] int32, gradients seen
    total: jax.Array  # [P] float32
    square: jax.Array  # [P] float32, sum of squares


@dataclasses.dataclass(frozen=True)
class FrozenProgram(Program):
    """Updates nothing; the state holds the :class:`Moments` of the gradients."""

    optimizer: tuple[str, ...] = ()

    def transform(
        self, values: Tree, unravel: Callable[[jax.Array], Tree]
    ) -> optax.GradientTransformationExtraArgs:
        """Return the transformation of flat vectors ``[P]``."""
        del values, unravel

        def init_fn(params: jax.Array) -> Moments:
            return Moments(jnp.zeros((), jnp.int32), jnp.zeros_like(params), params * 0.0)

        def update_fn(updates: jax.Array, state: Moments, params: Any = None, **_: Any) -> tuple:
            del params
            sums = state.total + updates, state.square + updates**2
            return jnp.zeros_like(updates), Moments(state.steps + 1, *sums)

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class Noise(NamedTuple):
    """Signal and noise of one agent's gradients, or of a part of their coordinates."""

    signal: float  # squared norm of the true gradient, unbiased: may come out negative
    noise: float  # trace of a single gradient's covariance
    clear: float  # share of coordinates whose true gradient is told from 0 by all gradients seen


def measure(moments: Moments, part: slice | np.ndarray = slice(None)) -> Noise:
    """Estimate signal and noise.

    Args:
        moments: Of one agent.
        part: Coordinates to look at.
    """
    steps = int(moments.steps)
    mean, variance = _mean_and_variance(moments)
    mean, variance = mean[part], variance[part]
    noise = float(variance.sum())
    clear = np.abs(mean) > np.sqrt(variance / steps) * 1.96
    return Noise(float(mean @ mean) - noise / steps, noise, float(clear.mean()))


def cosine(a: Moments, b: Moments) -> float:
    """Return the cosine between two true gradients, corrected for the noise of their estimates.

    NaN where either is lost in its noise.
    """
    mean_a, mean_b = (_mean_and_variance(moments)[0] for moments in (a, b))
    signal_a, signal_b = measure(a).signal, measure(b).signal
    if min(signal_a, signal_b) <= 0:
        return float("nan")
    return float(mean_a @ mean_b / np.sqrt(signal_a * signal_b))


def _mean_and_variance(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    steps = int(moments.steps)
    mean = np.asarray(moments.total, float) / steps
    square = np.asarray(moments.square, float) / steps
    return mean, np.maximum(square - mean**2, 0.0) * steps / (steps - 1)

"""Averages of gradients, and the network inputs that are made of them.

Shared by small_fc, STAR, VeLO and Celo2. Arrays are packed (:class:`~l2o.optimizers.parts.packing
.Packing`) and feature-major, ``[decays, elements]``. Adafactor's second moments live on the coarser
packings of rows and columns; those of a leaf with one axis are its elements, on both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.parts.packing import Packing

GROUPS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)
"""Channels of the 14 kinds of input of VeLO and Celo2."""
_TIMESCALES = np.array([1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5], np.float32)


class Decays(NamedTuple):
    """Decays of the averages, float32 vectors."""

    momentum: jax.Array | np.ndarray
    rms: jax.Array | np.ndarray
    adafactor: jax.Array | np.ndarray


def usual_decays(rms: float = 0.999) -> Decays:
    """Return the decays that all four optimizers start from."""
    three = np.array([0.9, 0.99, 0.999], np.float32)
    return Decays(three, np.array([rms], np.float32), three)


class Accumulators(NamedTuple):
    """Averages of gradients, float32; zero before the first step, never corrected."""

    m: jax.Array  # [momentum decays, elements]: of the gradient
    rms: jax.Array  # [rms decays, elements]: of its square
    row: jax.Array  # [Adafactor decays, rows]: of its square's mean over the largest axis
    col: jax.Array  # [Adafactor decays, columns]: of its mean over the second largest axis


def init_accumulators(at: Packing, decays: Decays) -> Accumulators:
    """Return the accumulators before the first step."""
    sizes = at.size, at.size, at.rows.size, at.cols.size
    counts = map(len, (*decays, decays.adafactor))
    return Accumulators(
        *(jnp.zeros(shape, jnp.float32) for shape in zip(counts, sizes, strict=True))
    )


def accumulate(old: Accumulators, g: jax.Array, decays: Decays, at: Packing) -> Accumulators:
    """Advance the averages by one gradient, ``[elements]`` float32."""
    square = (g * g)[None]
    row, col = (at.mean(square + 1e-30, onto) for onto in (at.rows, at.cols))
    return Accumulators(
        _average(old.m, g, decays.momentum),
        _average(old.rms, square, decays.rms),
        _average(old.row, row, decays.adafactor),
        _average(old.col, col, decays.adafactor),
    )


def _average(old: jax.Array, new: jax.Array, decay: jax.Array | np.ndarray) -> jax.Array:
    decay = decay[:, None]
    return decay * old + (1 - decay) * new  # 1 - decay in float32, as in the references


class Features(NamedTuple):
    """What depends on the element, the row and the column: ``[channels, ...]`` each.

    The references order their channels ``own`` (but for the last ones, M), ``row[:3]``,
    ``col[:3]``, ``row[3:]``, ``col[3:]``, M. Keeping what is constant along an axis apart saves
    most of its cost.
    """

    own: jax.Array
    row: jax.Array
    col: jax.Array


def features(
    state: Accumulators,
    g: jax.Array,
    p: jax.Array,
    at: Packing,
    eps: float = 1e-6,
    wide: bool = False,
    vector_eps: float | None = 1e-6,
) -> Features:
    """Return the inputs that the four optimizers have in common, not yet normalised.

    With ``a = rsqrt(rms + eps)``, F and M the gradient and the momenta scaled by Adafactor's
    second moments: ``g, p, m, rms, m a, a, F``, then rows and columns of the second moments and
    their reciprocal square roots, then M.

    Args:
        state: Accumulators after this step.
        g: Gradient, ``[elements]``.
        p: Parameters before this step, ``[elements]``.
        at: Where the elements belong.
        eps: Added to rms.
        wide: Also ``clip(g, -0.1, 0.1)`` after g, and ``g a`` after F (VeLO, Celo2).
        vector_eps: Added to the second moment in M of leaves with one axis; ``None`` if these have
            no rows, columns and M: zeros.
    """
    m, rms, row, col = state
    g, a = g[None], jax.lax.rsqrt(rms + eps)
    scale = _adafactor_scale(row, col, at)
    v = row[:, : at.vectors]
    of_vectors = jnp.zeros_like(v) if vector_eps is None else jax.lax.rsqrt(v + vector_eps)
    scaled_m = m * jnp.concatenate([of_vectors, scale[:, at.vectors :]], axis=1)
    clipped, scaled = ([jnp.clip(g, -0.1, 0.1)], [g * a]) if wide else ([], [])
    own = [g, *clipped, p[None], m, rms, m * a, a, g * scale, *scaled, scaled_m]
    return Features(jnp.concatenate(own), *(_moments(x, at, vector_eps) for x in (row, col)))


def _moments(x: jax.Array, at: Packing, vector_eps: float | None) -> jax.Array:
    both = jnp.concatenate([x, jax.lax.rsqrt(x + 1e-8)])
    return both if vector_eps is not None else both.at[:, : at.vectors].set(0.0)


def _adafactor_scale(row: jax.Array, col: jax.Array, at: Packing) -> jax.Array:
    """Return the factor by which Adafactor scales a gradient, ``[decays, elements]``."""
    mean = at.rows.mean(row, at.slices)
    row_of_matrices = row / (at.rows.spread(mean, at.slices) + 1e-9)
    vector, matrix = slice(None, at.vectors), slice(at.vectors, None)
    row = jnp.concatenate([row[:, vector] + 1e-9, row_of_matrices[:, matrix]], axis=1)
    col = jnp.concatenate([jnp.ones_like(col[:, vector]), col[:, matrix]], axis=1)
    safe_rsqrt = lambda x: jax.lax.rsqrt(jnp.maximum(x, 1e-9))  # noqa: E731
    return at.spread(safe_rsqrt(row), at.rows) * at.spread(safe_rsqrt(col), at.cols)


def normalised(x: jax.Array, at: Packing, over: Packing, eps: float = 1e-5) -> jax.Array:
    """Divide each channel by its RMS over the elements that a coarser packing has in one."""
    scale = jax.lax.rsqrt(eps + at.mean(x * x, over))
    return x * at.spread(scale, over)


def normalised_features(x: Features, at: Packing) -> Features:
    """Normalise features over each leaf."""
    places = (at, at.rows, at.cols)
    return Features(*(normalised(x, at, at.leaves) for x, at in zip(x, places, strict=True)))


def time_features(count: jax.Array) -> jax.Array:
    """Return ``tanh(t / scale - 1)`` for eleven time scales from 1 to 1e5 steps, ``[11]``."""
    return jnp.tanh(count.astype(jnp.float32) / _TIMESCALES - 1)

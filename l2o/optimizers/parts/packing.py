"""All leaves of a tree in one vector: a few large array operations instead of many small ones.

Arrays are feature-major, ``[features, size]``. What is constant along some axes of each leaf (a
mean over rows, over the leaf) lives on a coarser packing, of the same leaves with those axes of
length 1; :meth:`Packing.mean` goes there and :meth:`Packing.spread` comes back.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.parts.linear_maps import linear_map

Shape = tuple[int, ...]
# An operation for every leaf takes long to compile (and, on a GPU, to launch). So repeating
# looks up where an element belongs, for up to so many of them. Sums stay apart for every
# leaf: as one product with zeros and ones, a number that is not finite would reach all leaves.
_INDEXED = 2**20


def largest_axes(shape: Shape) -> tuple[int, ...]:
    """Return the largest and the second largest axis, later ones first; ``()`` below two axes."""
    if len(shape) < 2:
        return ()
    *_, second, largest = np.argsort(shape, kind="stable")
    return int(largest), int(second)


class Packing:
    """Leaves of given shapes laid end to end, those with one axis first.

    Attributes:
        shapes: Of the leaves, in packed order.
        order: For each leaf in packed order, which of the given leaves it is.
        size: Elements of all leaves.
        vectors: Elements of the leaves with one axis, which come first.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.order = sorted(range(len(shapes)), key=lambda i: len(shapes[i]) > 1)
        self.shapes = tuple(shapes[i] for i in self.order)
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.size = sum(self.sizes)
        self.vectors = sum(math.prod(shape) for shape in self.shapes if len(shape) == 1)

    def pack(self, leaves: Sequence[jax.Array]) -> jax.Array:
        """Lay the given leaves end to end, ``[size]`` float32."""
        return jnp.concatenate([leaves[i].astype(jnp.float32).ravel() for i in self.order])

    def unpack(self, x: jax.Array) -> list[jax.Array]:
        """Return the leaves of ``[size]`` as they were given."""
        parts = dict(zip(self.order, self.split(x[None]), strict=True))
        return [parts[i][0] for i in range(len(parts))]

    def split(self, x: jax.Array) -> list[jax.Array]:
        """Cut ``[features, size]`` into leaves in packed order, ``[features, *shape]``."""
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1], axis=1)
        return [p.reshape(-1, *shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def join(self, parts: Sequence[jax.Array]) -> jax.Array:
        """Lay leaves in packed order end to end, ``[features, size]``, broadcasting each."""
        shaped = zip(parts, self.shapes, strict=True)
        flat = [jnp.broadcast_to(p, (len(p), *s)).reshape(len(p), -1) for p, s in shaped]
        return jnp.concatenate(flat, axis=1)

    def reduced(self, axes: Callable[[Shape], Sequence[int]]) -> "Packing":
        """Return the packing of the same leaves with some axes of length 1."""
        return Packing(
            [tuple(1 if i in axes(s) else n for i, n in enumerate(s)) for s in self.shapes]
        )

    @functools.cached_property
    def rows(self) -> "Packing":
        """One number per row: the largest axis is gone. Leaves with one axis are as they are."""
        return self.reduced(lambda shape: largest_axes(shape)[:1])

    @functools.cached_property
    def cols(self) -> "Packing":
        """One number per column: the second largest axis is gone, as for :attr:`rows`."""
        return self.reduced(lambda shape: largest_axes(shape)[1:])

    @functools.cached_property
    def slices(self) -> "Packing":
        """One number per matrix of rows and columns; one per leaf with one axis."""
        return self.reduced(lambda shape: largest_axes(shape) or (0,))

    @functools.cached_property
    def leaves(self) -> "Packing":
        """One number per leaf."""
        return self.reduced(lambda shape: range(len(shape)))

    @functools.cached_property
    def matrices(self) -> "Packing":
        """One number per matrix, the last two axes of a leaf."""
        return self.reduced(lambda shape: range(len(shape))[-2:])

    def mean(self, x: jax.Array, onto: "Packing") -> jax.Array:
        """Average ``[features, size]`` over the axes that ``onto`` has of length 1."""
        lengths = np.repeat(
            [fine // coarse for fine, coarse in zip(self.sizes, onto.sizes, strict=True)],
            onto.sizes,
        )
        return self.total(x, onto) / lengths.astype(np.float32)

    def total(self, x: jax.Array, onto: "Packing") -> jax.Array:
        """Sum ``[features, size]`` over the axes that ``onto`` has of length 1."""
        if onto.shapes == self.shapes:
            return x
        parts = zip(self.split(x), self.shapes, onto.shapes, strict=True)
        return onto.join([_total(part, fine, coarse) for part, fine, coarse in parts])

    def spread(self, x: jax.Array, of: "Packing") -> jax.Array:
        """Repeat ``[features, of.size]`` along the axes that ``of`` has of length 1."""
        if of.shapes == self.shapes:
            return x
        if self.size > _INDEXED:
            return self.join(of.split(x))
        return _take(x, self._index(of), lambda x: self.total(x, of))

    def _index(self, packing: "Packing") -> np.ndarray:
        """Return to which element of a coarser packing each element belongs."""
        starts = np.cumsum([0, *packing.sizes])
        indices = [
            np.broadcast_to(start + np.arange(size).reshape(coarse), fine).ravel()
            for start, size, coarse, fine in zip(
                starts[:-1], packing.sizes, packing.shapes, self.shapes, strict=True
            )
        ]
        return np.concatenate(indices)


def _total(part: jax.Array, fine: Shape, coarse: Shape) -> jax.Array:
    axes = tuple(1 + i for i in range(len(fine)) if fine[i] != coarse[i])
    return part.sum(axes, keepdims=True) if axes else part


def _take(
    x: jax.Array, index: np.ndarray, transpose: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Return ``x[:, index]`` with a given transpose: scattering would run serially on a CPU."""

    def take(_: None, x: jax.Array) -> jax.Array:
        # The barrier keeps XLA from computing x anew for every element that takes it.
        return jnp.take(jax.lax.optimization_barrier(x), index, axis=1, mode="clip")

    return linear_map(take, lambda _, cotangent: transpose(cotangent), None, x)

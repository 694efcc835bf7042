"""Leaves of a tree as rows of one matrix: elementwise work with a number per leaf, in few kernels.

Small leaves are cut into rows, each filled up with zeros, so that all are worked on at once, and
what belongs to a leaf is one number per row, which vector instructions can broadcast. Leaves with
many elements stay as they are: to copy them would cost more than a kernel of their own.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]
_WIDTH = 64
_LARGE = 2**14


class Rows:
    """How leaves of given shapes are laid out; arrays are in a list, the matrix of rows first.

    Attributes:
        shapes: Of the leaves.
        sizes: Their elements.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes = tuple(shapes)
        self.sizes = [math.prod(shape) for shape in shapes]
        self._small = [i for i, size in enumerate(self.sizes) if size < _LARGE]
        self._large = [i for i, size in enumerate(self.sizes) if size >= _LARGE]
        counts = [-(-self.sizes[i] // _WIDTH) for i in self._small]
        self._owner = np.repeat(self._small, counts).astype(np.int32)

    def pack(self, leaves: Sequence[jax.Array]) -> list[jax.Array]:
        """Lay leaves out, float32: ``[rows, width]`` if any is small, then the large ones."""
        flat = [leaf.astype(jnp.float32).ravel() for leaf in leaves]
        if not self._small:
            return [flat[i] for i in self._large]
        parts = []
        for i in self._small:
            parts.append(flat[i])
            if spare := -self.sizes[i] % _WIDTH:
                parts.append(jnp.zeros(spare, jnp.float32))
        matrix = jnp.concatenate(parts).reshape(-1, _WIDTH)
        return [matrix, *(flat[i] for i in self._large)]

    def unpack(self, arrays: Sequence[jax.Array]) -> list[jax.Array]:
        """Return the leaves, with their shapes."""
        found = dict(zip(self._large, arrays[len(arrays) - len(self._large) :], strict=True))
        if self._small:
            matrix, start = arrays[0].ravel(), 0
            for i in self._small:
                found[i] = jax.lax.slice_in_dim(matrix, start, start + self.sizes[i])
                start += -(-self.sizes[i] // _WIDTH) * _WIDTH
        return [found[i].reshape(shape) for i, shape in enumerate(self.shapes)]

    def zeros(self) -> list[jax.Array]:
        """Return arrays of zeros."""
        matrix = [jnp.zeros((len(self._owner), _WIDTH))] if self._small else []
        return [*matrix, *(jnp.zeros(self.sizes[i]) for i in self._large)]

    def mean(self, arrays: Sequence[jax.Array]) -> jax.Array:
        """Average over the elements of each leaf, ``[leaves]``; each for itself, also if NaN."""
        arrays = list(arrays)
        total = jnp.zeros(len(self.sizes))
        if self._small:
            rows = arrays.pop(0).sum(1)
            total = jax.ops.segment_sum(rows, self._owner, len(self.sizes), indices_are_sorted=True)
        if self._large:
            total = total.at[np.array(self._large)].set(jnp.stack([x.sum() for x in arrays]))
        return total / np.array(self.sizes, np.float32)

    def spread(self, numbers: jax.Array) -> list[jax.Array]:
        """Return numbers per leaf ``[n, leaves]`` so that they broadcast: ``[n, rows, 1]`` ..."""
        matrix = [numbers[:, self._owner, None]] if self._small else []
        return [*matrix, *(numbers[:, i, None] for i in self._large)]

"""Reading the stored reference vectors."""

from itertools import pairwise
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def cut(vector, shapes):
    """Cut the last axis of an array into named arrays."""
    bounds = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())])
    assert bounds[-1] == vector.shape[-1]
    return {
        name: vector[..., low:high].reshape(*vector.shape[:-1], *shape)
        for (name, shape), (low, high) in zip(shapes.items(), pairwise(bounds), strict=True)
    }

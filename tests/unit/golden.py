"""Reading the stored reference vectors."""

from itertools import pairwise

import numpy as np
from places import DATA

GOLDEN = DATA / "golden"


def cut(vector, shapes):
    """Cut the last axis of an array into named arrays."""
    bounds = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())])
    assert bounds[-1] == vector.shape[-1]
    return {
        name: vector[..., low:high].reshape(*vector.shape[:-1], *shape)
        for (name, shape), (low, high) in zip(shapes.items(), pairwise(bounds), strict=True)
    }

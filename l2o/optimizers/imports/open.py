"""OPEN (its own release): one flat vector per optimizer, or the arrays that it is made of.

The vector is that of ``jax.flatten_util.ravel_pytree``: arrays in the order of their sorted paths.
Kernels are ``[in, out]``.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from l2o.errors import CheckpointError
from l2o.optimizers.imports.conversion import Arrays, Conversion, Tree, agreed_size, gru_cell, known
from l2o.optimizers.open import OPEN

_GRU = "gru_params/params"
_HEAD = "params/params"
_BIASED = ("hn", "in", "ir", "iz")  # candidate's recurrent part, candidate, reset, update
_PUBLISHED = (OPEN(), OPEN(gru_features=16, hidden_size=32))  # the vectors' lengths tell which


def _shapes(optimizer: OPEN) -> dict[str, tuple[int, ...]]:
    """Return names and shapes in the order of the flat vector."""
    features, hidden = optimizer.gru_features, optimizer.hidden_size
    recurrent, external = (features, features), (19, features)
    shapes: dict[str, tuple[int, ...]] = {
        f"{_GRU}/hn/bias": (features,),
        f"{_GRU}/hn/kernel": recurrent,
        f"{_GRU}/hr/kernel": recurrent,
        f"{_GRU}/hz/kernel": recurrent,
    }
    for gate in _BIASED[1:]:
        shapes |= {f"{_GRU}/{gate}/bias": (features,), f"{_GRU}/{gate}/kernel": external}
    for dense, norm, inputs in ((0, 1, features), (3, 4, hidden)):
        shapes |= {
            f"{_HEAD}/layers_{dense}/bias": (hidden,),
            f"{_HEAD}/layers_{dense}/kernel": (inputs, hidden),
            f"{_HEAD}/layers_{norm}/bias": (hidden,),
            f"{_HEAD}/layers_{norm}/scale": (hidden,),
        }
    return shapes | {f"{_HEAD}/layers_6/bias": (3,), f"{_HEAD}/layers_6/kernel": (hidden, 3)}


def _unpack(vector: np.ndarray) -> Arrays:
    """Cut the flat vector of a published form into named arrays."""
    lengths = []
    for optimizer in _PUBLISHED:
        shapes = _shapes(optimizer)
        bounds = np.cumsum([0, *(np.prod(shape) for shape in shapes.values())])
        if vector.shape == (bounds[-1],):
            return {
                name: vector[low:high].reshape(shape)
                for (name, shape), (low, high) in zip(shapes.items(), pairwise(bounds), strict=True)
            }
        lengths.append(str(bounds[-1]))
    raise CheckpointError(
        f"open arrays of 'open': a flat vector has {' or '.join(lengths)} numbers; "
        f"got shape {vector.shape}."
    )


def _from_reference(optimizer: OPEN, arrays: Arrays) -> Tree:
    """Arrange arrays feature-major."""
    del optimizer

    def layer(index: int, **names: str) -> Tree:
        return {ours: arrays[f"{_HEAD}/layers_{index}/{name}"].T for ours, name in names.items()}

    meta_params = {
        "gru": gru_cell(arrays, _GRU),
        "dense": [layer(index, w="kernel", b="bias") for index in (0, 3, 6)],
        "norm": [layer(index, scale="scale", bias="bias") for index in (1, 4)],
    }
    return jax.tree.map(jnp.asarray, meta_params)


def _hyperparameters(arrays: Arrays) -> dict[str, int]:
    return known(
        gru_features=agreed_size(arrays, *((f"{_GRU}/{gate}/bias", -1) for gate in _BIASED)),
        hidden_size=agreed_size(arrays, *((f"{_HEAD}/layers_{i}/bias", -1) for i in (0, 1, 3))),
    )


CONVERSIONS = {"open": Conversion(_hyperparameters, _shapes, _from_reference, _unpack)}

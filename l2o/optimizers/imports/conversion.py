"""How the arrays of a reference implementation become meta-parameters."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.parts.paths import named_leaves

Tree = Any
Arrays = Mapping[str, np.ndarray]
GATES = ("r", "z", "n")  # of a GRU, as flax calls reset, update, candidate: the order of our rows


class Conversion(NamedTuple):
    """What a source knows about one optimizer; names are the reference's, '/'-joined paths.

    Attributes:
        hyperparameters: Returns the structure that arrays imply (sizes), as hyperparameters. It
            sees arrays that may be missing or misshapen; see :func:`size`.
        shapes: Returns the names and shapes of the arrays that belong to an optimizer.
        from_reference: Arranges such arrays (float32) as the optimizer's meta-parameters.
        unpack: Cuts the one flat vector that some sources publish into named arrays.
    """

    hyperparameters: Callable[[Arrays], dict[str, Any]]
    shapes: Callable[[LearnedOptimizer], dict[str, tuple[int, ...]]]
    from_reference: Callable[[LearnedOptimizer, Arrays], Tree]
    unpack: Callable[[np.ndarray], Arrays] | None = None


def size(arrays: Arrays, name: str, axis: int = -1) -> int | None:
    """Return the length of an array's axis; ``None`` if the array or the axis is missing."""
    shape = np.shape(arrays[name]) if name in arrays else ()
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def agreed_size(arrays: Arrays, *places: tuple[str, int]) -> int | None:
    """Return the size that most places (name, axis) have, so that one bad array cannot decide."""
    found = Counter(size(arrays, *place) for place in places)
    del found[None]
    return found.most_common(1)[0][0] if found else None


def known(**sizes: int | None) -> dict[str, int]:
    """Return the hyperparameters that could be read; the others keep their defaults."""
    return {name: value for name, value in sizes.items() if value}


def mirrored(
    hyperparameters: Callable[[Arrays], dict[str, Any]], rename: Callable[[str], str]
) -> Conversion:
    """Return the conversion of an optimizer whose meta-parameters mirror the reference's.

    Args:
        hyperparameters: See :class:`Conversion`.
        rename: From our '/'-joined path to the reference's.
    """

    def shapes(optimizer: LearnedOptimizer) -> dict[str, tuple[int, ...]]:
        return {rename(name): leaf.shape for name, leaf in named_leaves(_wanted(optimizer)).items()}

    def from_reference(optimizer: LearnedOptimizer, arrays: Arrays) -> Tree:
        wanted = _wanted(optimizer)
        leaves = [jnp.asarray(arrays[rename(name)]) for name in named_leaves(wanted)]
        return jax.tree.unflatten(jax.tree.structure(wanted), leaves)

    return Conversion(hyperparameters, shapes, from_reference)


def gru_cell(arrays: Arrays, path: str) -> Tree:
    """Arrange the arrays of flax's ``GRUCell`` feature-major, rows reset, update, candidate."""
    return {
        "w_in": np.concatenate([arrays[f"{path}/i{gate}/kernel"].T for gate in GATES]),
        "b_in": np.concatenate([arrays[f"{path}/i{gate}/bias"] for gate in GATES]),
        "w_rec": np.concatenate([arrays[f"{path}/h{gate}/kernel"].T for gate in GATES]),
        "b_rec": arrays[f"{path}/hn/bias"],
    }


def _wanted(optimizer: LearnedOptimizer) -> Tree:
    return jax.eval_shape(optimizer.init_meta, jax.random.key(0))

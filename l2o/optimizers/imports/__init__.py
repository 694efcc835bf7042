"""Weights of reference implementations, imported as meta-parameters.

Every source is a module with a table ``CONVERSIONS``, from an optimizer's name to a
:class:`~l2o.optimizers.imports.conversion.Conversion`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from l2o.errors import CheckpointError, look_up
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.imports import learned_optimization, optim4rl
from l2o.optimizers.imports import open as open_
from l2o.optimizers.imports.conversion import Arrays, Conversion
from l2o.optimizers.parts.paths import named_leaves
from l2o.optimizers.registry import make_optimizer
from l2o.optimizers.weights import misfits

Tree = Any
_SOURCES: dict[str, Mapping[str, Conversion]] = {
    "learned_optimization": learned_optimization.CONVERSIONS,
    "open": open_.CONVERSIONS,
    "optim4rl": optim4rl.CONVERSIONS,
}


def list_sources() -> list[str]:
    """Return the names of the sources that :func:`import_weights` knows."""
    return list(_SOURCES)


def list_imports(source: str) -> list[str]:
    """Return the names of the optimizers whose weights a source has.

    Raises:
        L2OError: The source is unknown.
    """
    return sorted(_table(source))


def import_weights(
    source: str,
    optimizer: str | LearnedOptimizer,
    arrays: Mapping[str, Any] | np.ndarray,
) -> Tree:
    """Turn the arrays of a reference implementation into meta-parameters.

    Args:
        source: One of :func:`list_sources`.
        optimizer: A registered name, and the structure (hidden sizes, layers) follows from the
            arrays; or an optimizer whose structure the arrays must have.
        arrays: The reference's arrays by '/'-joined path, or nested as the reference has them
            (``transform`` takes the sizes from the result); for sources that publish one flat
            vector, the vector, alone or under the name ``flat``.

    Returns:
        Meta-parameters for ``optimizer.transform``, float32.

    Raises:
        CheckpointError: Arrays are missing, unexpected, misshapen or not numbers; all are named.
        L2OError: The source is unknown, or knows no such optimizer.
    """
    return import_optimizer(source, optimizer, arrays)[1]


def import_optimizer(
    source: str,
    optimizer: str | LearnedOptimizer,
    arrays: Mapping[str, Any] | np.ndarray,
) -> tuple[LearnedOptimizer, Tree]:
    """Do as :func:`import_weights`; also return the optimizer, as ``save_weights`` needs it."""
    name = optimizer if isinstance(optimizer, str) else optimizer.name
    conversion = _conversion(source, name)
    label = f"{source} arrays of '{name}'"
    numbers = _numbers(label, _named(label, conversion, arrays))
    if isinstance(optimizer, str):
        optimizer = make_optimizer(name, **conversion.hyperparameters(numbers))
    problems = misfits(numbers, conversion.shapes(optimizer))
    if problems:
        raise CheckpointError(f"{label} do not fit: {'; '.join(problems)}.")
    return optimizer, conversion.from_reference(optimizer, numbers)


def _table(source: str) -> Mapping[str, Conversion]:
    return look_up("source of weights", source, _SOURCES)


def _conversion(source: str, name: str) -> Conversion:
    table = _table(source)
    return look_up(f"optimizer of source '{source}'", name, table)


def _named(label: str, conversion: Conversion, arrays: Any) -> Mapping[str, Any]:
    """Return arrays by '/'-joined path, whatever form they come in."""
    if isinstance(arrays, Mapping):
        if conversion.unpack is None or set(arrays) != {"flat"}:
            return named_leaves(dict(arrays))
        arrays = arrays["flat"]
    if conversion.unpack is None:
        raise CheckpointError(f"{label}: got {type(arrays).__name__}, want arrays by name.")
    return conversion.unpack(np.asarray(arrays))


def _numbers(label: str, arrays: Mapping[str, Any]) -> Arrays:
    """Return the arrays in float32; refuse what is not an array of real numbers."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    alien = [
        f"'{name}' has dtype {array.dtype}"
        for name, array in arrays.items()
        if not jnp.issubdtype(array.dtype, jnp.floating)
        and not jnp.issubdtype(array.dtype, jnp.integer)
    ]
    if alien:
        raise CheckpointError(f"{label} are not all numbers: {'; '.join(alien)}.")
    return {name: array.astype(np.float32) for name, array in arrays.items()}

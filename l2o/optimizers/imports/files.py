"""From a file with a reference implementation's arrays to a weight file."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from l2o import files
from l2o.errors import CheckpointError, L2OError
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.imports import import_optimizer, list_imports
from l2o.optimizers.registry import make_optimizer
from l2o.optimizers.weights import save_weights

_PREFIX = "meta/"
_STARTS = (b"\x93NUMPY", b"PK\x03\x04")  # of .npy and .npz
_ONLY_ARRAYS = "loading a pickle can execute code, so only plain arrays are accepted"
_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def import_file(
    path: str | Path,
    out: str | Path,
    source: str,
    name: str | None,
    settings: dict[str, Any],
    metadata: dict[str, Any],
) -> LearnedOptimizer:
    """Write the weights in a file as a weight file.

    Args:
        path: See :func:`read_arrays`.
        out: The weight file.
        source: Whose arrays they are, see :func:`l2o.import_weights`.
        name: The optimizer; may be ``None`` for a source that has one.
        settings: Hyperparameters that the arrays do not determine.
        metadata: Stored with the weights, beside where they come from.

    Returns:
        The optimizer that was written.

    Raises:
        CheckpointError: The file cannot be read, or its arrays do not fit the optimizer.
        L2OError: The source, optimizer or a hyperparameter is unknown.
    """
    names = list_imports(source)
    if name is None and len(names) > 1:
        raise L2OError(f"source '{source}' needs --optimizer, one of {', '.join(names)}.")
    optimizer, meta_params = import_optimizer(source, name or names[0], read_arrays(path))
    optimizer = make_optimizer(optimizer.name, **(optimizer.hyperparameters | settings))
    origin = {"source": source, "file": Path(path).name, "sha256": files.sha256(path)}
    save_weights(out, optimizer, meta_params, {"imported": origin} | metadata)
    return optimizer


def read_arrays(path: str | Path) -> dict[str, np.ndarray] | np.ndarray:
    """Read the arrays of a file without executing anything in it.

    Args:
        path: An ``.npy`` file, or an ``.npz`` file with arrays named by their '/'-joined path. If
            some of its names start with ``meta/``, only those are read, and named without it.

    Returns:
        One array, or arrays by name.

    Raises:
        CheckpointError: The file is missing or damaged, or holds pickled objects.
    """
    try:
        with open(path, "rb") as file:
            if not file.read(8).startswith(_STARTS):
                raise CheckpointError(f"{path}: neither .npz nor .npy; {_ONLY_ARRAYS}.")
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            under_prefix = [name for name in content.files if name.startswith(_PREFIX)]
            arrays = {name: content[name] for name in under_prefix or content.files}
    except _DAMAGE as error:
        if "allow_pickle" in str(error):
            raise CheckpointError(f"{path}: holds pickled objects; {_ONLY_ARRAYS}.") from None
        raise CheckpointError(f"{path}: cannot be read ({error}).") from None
    alien = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if alien:  # such as the pickle in an archive of another library
        raise CheckpointError(f"{path}: '{alien[0]}' is no array; {_ONLY_ARRAYS}.")
    return {name.removeprefix(_PREFIX): array for name, array in arrays.items()}

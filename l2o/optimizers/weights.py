"""Weight files: one safetensors file, with the optimizer's description in its header.

Loading never executes code: a file that is not safetensors is refused. The header holds a digest of
everything else in the file, so a file that has changed since it was written is refused too, and
what loads is what was saved. A file without a digest, made by other means, loads if it fits the
optimizer that it names and its numbers are finite.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from l2o import __version__
from l2o.errors import CheckpointError, L2OError, unknown_name
from l2o.files import plain_array, write_arrays
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.classical import classical, list_classical
from l2o.optimizers.parts.paths import named_leaves
from l2o.optimizers.registry import list_optimizers, make_optimizer

Tree = Any
_FORMAT = "l2o-weights-1"


def misfits(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Say which arrays are missing, unexpected or misshapen; an empty list if they fit."""
    missing = [f"'{name}' is missing" for name in shapes if name not in arrays]
    unexpected = [f"'{name}' is unexpected" for name in arrays if name not in shapes]
    return [*missing, *unexpected] + [
        f"'{name}' has shape {arrays[name].shape}, want {shape}"
        for name, shape in shapes.items()
        if name in arrays and arrays[name].shape != shape
    ]


def save_weights(
    path: str | Path,
    optimizer: LearnedOptimizer,
    meta_params: Tree,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a learned optimizer: meta-parameters (float32) and how to rebuild it.

    Args:
        path: The file to write, atomically; by convention ``*.safetensors``.
        optimizer: The optimizer.
        meta_params: Its meta-parameters.
        metadata: Provenance, JSON values (recipe, training tasks, outer step, seed, ...). Two
            entries are always there: ``licence`` of the weights, ``None`` where not given, and
            ``code_version``, by default the version of this package alone.

    Raises:
        CheckpointError: The meta-parameters have other names or shapes than the optimizer's, or
            are not finite.
    """
    metadata = {"licence": None, "code_version": {"l2o-rl": __version__}} | (metadata or {})
    arrays = {
        name: plain_array(np.asarray(leaf, np.float32))
        for name, leaf in named_leaves(meta_params).items()
    }
    _check(optimizer, arrays, path)
    header = {
        "format": _FORMAT,
        "optimizer": optimizer.name,
        "hyperparameters": json.dumps(optimizer.hyperparameters),
        "metadata": json.dumps(metadata, sort_keys=True),
    }
    header["digest"] = digest_of(header, arrays)
    write_arrays(path, arrays, header)


def digest_of(header: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 digest of the header, but for the digest in it, and of the arrays."""
    described = {name: text for name, text in header.items() if name != "digest"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        array = plain_array(array)  # as it is written
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load_weights(path: str | Path) -> tuple[LearnedOptimizer, Tree, dict[str, Any]]:
    """Read a learned optimizer written by :func:`save_weights`.

    Returns:
        The optimizer, its meta-parameters (float32, finite) and the stored metadata.

    Raises:
        CheckpointError: The file is missing, a pickle or otherwise not safetensors, truncated, has
            changed since it was written, or its arrays do not fit the optimizer it names or are
            not finite.
    """
    path = Path(path)
    _refuse_unsafe(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}).") from None
    except (AttributeError, TypeError) as error:  # types that numpy does not have
        raise CheckpointError(f"{path}: not weights in a usable type ({error}).") from None
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: not an l2o weight file (format {header.get('format')!r}, want {_FORMAT!r})."
        )
    if "digest" in header and header["digest"] != digest_of(header, arrays):
        raise CheckpointError(f"{path}: damaged: changed since it was written (digest differs).")
    try:
        optimizer = make_optimizer(header["optimizer"], **json.loads(header["hyperparameters"]))
        metadata = dict(json.loads(header["metadata"]))
    except (L2OError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged header ({error}).") from None
    return optimizer, _fit(optimizer, arrays, path), metadata


def _refuse_unsafe(path: Path) -> None:
    """Raise for a missing file and for formats that could execute code when loaded."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weight file.")
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file starts with the length of its header, whose low byte may be that of a
    # pickle; its ninth byte is always the brace that opens the header.
    alien = start[8:] != b"{" and (start[:1] == b"\x80" or start[:4] == b"PK\x03\x04")
    if alien or path.suffix in (".pkl", ".pt", ".pickle"):
        raise CheckpointError(
            f"{path}: looks like a pickle or archive; loading one can execute code, so only "
            "safetensors files are accepted."
        )


def _check(optimizer: LearnedOptimizer, arrays: dict[str, np.ndarray], path: str | Path) -> Tree:
    """Return the optimizer's tree of shapes; name arrays that do not fit or are not finite."""
    wanted = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    problems = misfits(arrays, {name: leaf.shape for name, leaf in named_leaves(wanted).items()})
    if problems:
        raise CheckpointError(f"{path}: not weights of '{optimizer.name}': {'; '.join(problems)}.")
    strange = [f"'{name}'" for name, array in arrays.items() if not _is_finite(array)]
    if strange:
        raise CheckpointError(f"{path}: not finite floating-point numbers: {', '.join(strange)}.")
    return wanted


def _is_finite(array: np.ndarray) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating) and bool(np.isfinite(array).all())


def _fit(optimizer: LearnedOptimizer, arrays: dict[str, np.ndarray], path: Path) -> Tree:
    """Arrange arrays as the optimizer's meta-parameters."""
    wanted = _check(optimizer, arrays, path)
    leaves = [jnp.asarray(arrays[name], jnp.float32) for name in named_leaves(wanted)]
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def load(path_or_name: str | Path, learning_rate: Any = None) -> Any:
    """Return an optimizer as a ready optax transformation.

    Args:
        path_or_name: A weight file of a meta-trained optimizer, or the name of a classical
            optimizer (:func:`l2o.optimizers.classical.list_classical`), which clips gradients
            elementwise to 1 as learned ones do.
        learning_rate: Multiplies the update; a number or schedule. By default the learning rate
            that the optimizer was meta-trained with; a classical one has none.

    Returns:
        An ``optax.GradientTransformationExtraArgs``.

    Raises:
        CheckpointError: See :func:`load_weights`; or no learning rate is given or stored.
        L2OError: There is neither such a file nor such a classical optimizer.
    """
    if _is_name(path_or_name):
        return _load_classical(path_or_name, learning_rate)
    optimizer, meta_params, metadata = load_weights(path_or_name)
    rate = metadata.get("learning_rate") if learning_rate is None else learning_rate
    if rate is None:
        raise CheckpointError(f"{path_or_name}: stores no learning rate; pass learning_rate=...")
    return optimizer.transform(meta_params, learning_rate=rate)


def _is_name(path_or_name: str | Path) -> bool:
    """Tell a name from a path: it has no folder and no suffix, and there is no such file."""
    path = Path(path_or_name)
    return path.name == path_or_name and not path.suffix and not path.exists()


def _load_classical(name: str, learning_rate: Any) -> Any:
    if name in list_optimizers():
        raise L2OError(
            f"'{name}' is a learned optimizer: load a weight file, or build it untrained with "
            f"make_optimizer('{name}')."
        )
    if name not in list_classical():
        raise unknown_name("weight file or classical optimizer", name, list_classical())
    if learning_rate is None:
        raise L2OError(f"optimizer '{name}' needs a learning rate; pass learning_rate=...")
    return classical(name, learning_rate)

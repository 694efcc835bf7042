"""Weight files: one safetensors file, with the optimizer's description in its header.

Loading never executes code: a file that is not safetensors is refused.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from l2o.errors import CheckpointError, L2OError
from l2o.files import atomic_path
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.registry import make_optimizer

Tree = Any
_FORMAT = "l2o-weights-1"


def named_leaves(tree: Tree) -> dict[str, jax.Array]:
    """Return the leaves of a tree by '/'-joined path."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


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
        metadata: Provenance, JSON values (recipe, outer step, seed, ...).
    """
    arrays = {
        name: np.asarray(leaf, np.float32) for name, leaf in named_leaves(meta_params).items()
    }
    header = {
        "format": _FORMAT,
        "optimizer": optimizer.name,
        "hyperparameters": json.dumps(optimizer.hyperparameters),
        "metadata": json.dumps(metadata or {}, sort_keys=True),
    }
    with atomic_path(path) as partial:
        partial.write_bytes(_with_sorted_metadata(save(arrays, metadata=header)))


def _with_sorted_metadata(data: bytes) -> bytes:
    """Make equal weights equal files: safetensors writes its metadata in random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def load_weights(path: str | Path) -> tuple[LearnedOptimizer, Tree, dict[str, Any]]:
    """Read a learned optimizer written by :func:`save_weights`.

    Returns:
        The optimizer, its meta-parameters (float32) and the stored metadata.

    Raises:
        CheckpointError: The file is missing, a pickle or otherwise not safetensors, truncated, or
            its arrays do not fit the optimizer it names.
    """
    path = Path(path)
    _refuse_unsafe(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}).") from None
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: not an l2o weight file (format {header.get('format')!r}, want {_FORMAT!r})."
        )
    try:
        optimizer = make_optimizer(header["optimizer"], **json.loads(header["hyperparameters"]))
        metadata = json.loads(header["metadata"])
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


def _fit(optimizer: LearnedOptimizer, arrays: dict[str, np.ndarray], path: Path) -> Tree:
    """Arrange arrays as the optimizer's meta-parameters; name what is missing or misshapen."""
    wanted = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    names = named_leaves(wanted)
    problems = [f"'{n}' is missing" for n in names if n not in arrays]
    problems += [f"'{n}' is unexpected" for n in arrays if n not in names]
    problems += [
        f"'{n}' has shape {arrays[n].shape}, want {leaf.shape}"
        for n, leaf in names.items()
        if n in arrays and arrays[n].shape != leaf.shape
    ]
    if problems:
        raise CheckpointError(f"{path}: not weights of '{optimizer.name}': {'; '.join(problems)}.")
    leaves = [jnp.asarray(arrays[name], jnp.float32) for name in names]
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def load(path: str | Path, learning_rate: Any = None) -> Any:
    """Return a meta-trained optimizer as a ready optax transformation.

    Args:
        path: A weight file.
        learning_rate: Multiplies the update; a number or schedule. By default the learning rate
            that the optimizer was meta-trained with.

    Returns:
        An ``optax.GradientTransformationExtraArgs``.

    Raises:
        CheckpointError: See :func:`load_weights`; or no learning rate is given or stored.
    """
    optimizer, meta_params, metadata = load_weights(path)
    rate = metadata.get("learning_rate") if learning_rate is None else learning_rate
    if rate is None:
        raise CheckpointError(f"{path}: stores no learning rate; pass learning_rate=...")
    return optimizer.transform(meta_params, learning_rate=rate)

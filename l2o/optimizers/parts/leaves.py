"""Leaves of gradients and parameters: which can be trained, and in what form optimizers see them.

Host libraries hand over many forms: Python and NumPy numbers, narrow and 64-bit floats, parameters
inside a whole model. Inside, an optimizer sees float32 arrays in the tree of the gradients.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0

from l2o.errors import LeafError, MissingInputError
from l2o.optimizers.parts.paths import path_name, plain_leaves
from l2o.optimizers.parts.sharding import explicit

Tree = Any
_KINDS = "real floating-point numbers"


def require_trainable(optimizer: str, what: str, tree: Tree) -> None:
    """Refuse leaves that are no real floating-point numbers.

    Python integers count as numbers, as optax has it; integer arrays do not.

    Args:
        optimizer: Who asks, for messages.
        what: What the tree is, for messages.
        tree: Gradients or parameters.

    Raises:
        LeafError: There are such leaves; all are named.
    """
    alien = [
        f"'{path_name(path)}' is {kind}" if path else f"it is {kind}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if (kind := _alien(leaf))
    ]
    if alien:
        raise LeafError(
            f"optimizer '{optimizer}' trains {_KINDS}; of the {what}, {'; '.join(alien)}. Leave "
            "such leaves out, for example with optax.masked or None in their place."
        )


def _alien(leaf: Any) -> str:
    """Say what a leaf is that cannot be trained; nothing if it can."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        number = isinstance(leaf, int | float) and not isinstance(leaf, bool)
        return "" if number else f"of type {type(leaf).__name__}"
    if dtype == float0:
        return "float0"
    fits = jnp.issubdtype(dtype, jnp.floating) or _is_python_integer(leaf)
    return "" if fits else str(dtype)


def _is_python_integer(leaf: Any) -> bool:
    """Whether it was one before ``jit`` made an array of it."""
    weak = getattr(leaf, "weak_type", False)
    return weak and jnp.issubdtype(leaf.dtype, jnp.integer)


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape of a leaf, as of a float32 array, and its type's sharding on a mesh."""
    shape = leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=explicit(leaf))


def as_float32(leaf: Any) -> Any:
    """Return an array, number or shape in float32; what has it already stays what it is."""
    if isinstance(leaf, jax.ShapeDtypeStruct) or getattr(leaf, "dtype", None) == jnp.float32:
        return leaf
    return jnp.asarray(leaf, jnp.float32)


def update_dtype(gradient: Any, parameter: Any) -> Any:
    """Return the dtype of an update: the gradient's; float64 where the parameter has it."""
    weak = not hasattr(gradient, "dtype") or _is_python_integer(gradient)
    dtype = jnp.result_type(float) if weak else jnp.result_type(gradient)
    wide = getattr(parameter, "dtype", None) == jnp.float64 and jax.config.jax_enable_x64
    return jnp.dtype(jnp.float64) if wide else dtype


def aligned(optimizer: str, updates: Tree, params: Tree) -> list[Any]:
    """Return the parameter of each gradient, in tree order.

    The tree of the parameters may be richer: where the gradients have ``None``, anything may be;
    and where it is another kind of tree, names decide.

    Raises:
        MissingInputError: A gradient has no parameter of its shape.
    """
    leaves, structure = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    try:
        found = structure.flatten_up_to(params)
    except ValueError:
        found = _by_name(updates, params)
    else:
        found = [p for g, p in zip(leaves, found, strict=True) if g is not None]
    return _checked(optimizer, updates, found)


def _by_name(updates: Tree, params: Tree) -> list[Any]:
    given = dict(plain_leaves(params))
    return [given.get(name) for name, _ in plain_leaves(updates)]


def _checked(optimizer: str, updates: Tree, found: Sequence[Any]) -> list[Any]:
    leaves = jax.tree_util.tree_leaves_with_path(updates)
    strange = [
        path_name(path) or "the gradient"
        for (path, g), p in zip(leaves, found, strict=True)
        if p is None or np.shape(p) != np.shape(g)
    ]
    if strange:
        raise MissingInputError(
            f"optimizer '{optimizer}' needs the parameters, of the gradients' shapes; none such "
            f"for {', '.join(strange)}."
        )
    return list(found)

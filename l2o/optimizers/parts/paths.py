"""Leaves of a tree by name: the keys on the way to a leaf, joined by '/'."""

from typing import Any

import jax

Tree = Any


def path_name(path: tuple) -> str:
    """Return the name of a leaf from its path in JAX's form."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Tree, keep_none: bool = False) -> dict[str, Any]:
    """Return the leaves of a tree by name, in tree order.

    Args:
        tree: Any tree.
        keep_none: Make each ``None`` a leaf.
    """
    is_leaf = (lambda x: x is None) if keep_none else None
    paths, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    return {path_name(path): leaf for path, leaf in paths}

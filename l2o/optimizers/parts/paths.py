"""Leaves of a tree by name: the keys on the way to a leaf, joined by '/'."""

from collections import Counter
from typing import Any

import jax
from jax.tree_util import DictKey, FlattenedIndexKey

Tree = Any
_BOXES = ("value", "raw_value", "get_value", "_value")
"""Names of the one thing in a box around an array, as flax's ``nnx.Param`` is."""
_WRAPPERS = ("params", "~")
"""Names on the way that only say whose tree it is: flax's, haiku's."""


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


def plain_leaves(tree: Tree, keep_none: bool = False) -> list[tuple[str, Any]]:
    """Return names and leaves of a tree in tree order; names that no host library has a part in.

    So the same parameters have the same names in flax's ``{"params": ...}``, ``nnx.State`` or
    ``FrozenDict``, in haiku's flat keys, and in modules. What is left out: ``params`` and ``~`` on
    the way; and the last name, where it is ``value`` or the like, or has none, and nothing lies
    beside the leaf. Where that makes two names one, all of the tree's stay whole.

    Args:
        tree: Any tree.
        keep_none: Make each ``None`` a leaf.
    """
    is_leaf = (lambda x: x is None) if keep_none else None
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    whole = ["/".join(map(_key_name, path)) for path, _ in flat]
    beside = Counter(name.rpartition("/")[0] for name in whole)
    names = [
        _plain_name(name, path, beside[name.rpartition("/")[0]] == 1)
        for name, (path, _) in zip(whole, flat, strict=True)
    ]
    if len(set(names)) < len(names):
        names = whole
    return [(name, leaf) for name, (_, leaf) in zip(names, flat, strict=True)]


def tree_order(name: str) -> tuple:
    """Return what sorts names as the leaves of nested dictionaries; numbers count as numbers."""
    return tuple((0, int(x), "") if x.isdecimal() else (1, 0, x) for x in name.split("/"))


def _key_name(key: Any) -> str:
    if isinstance(key, DictKey) and isinstance(key.key, tuple):  # a path, of a flattened tree
        return "/".join(map(str, key.key))
    return path_name((key,))


def _plain_name(name: str, path: tuple, alone: bool) -> str:
    *way, last = name.split("/")
    # A class that names no children has their numbers.
    if alone and way and (last in _BOXES or isinstance(path[-1], FlattenedIndexKey)):
        *way, last = way
    return "/".join([*(part for part in way if part not in _WRAPPERS), last])

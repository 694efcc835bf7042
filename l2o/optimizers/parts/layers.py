"""What the paths of an agent's parameters say: networks, and layers within them.

A path joins the keys of a leaf with '/', so that nested trees and flat ones with keys such as
``actor/params/Dense_0/kernel`` are the same; what only a host library puts there is left out (see
:func:`~l2o.optimizers.parts.paths.plain_leaves`). The rest of a path before its last '/' is the
folder.

* A path is a critic's if one of its names contains "critic" but not "actor", or if a folder's name
  starts with "value", in any case. Everything else is one other network, the actor.
* The leaves of one innermost folder are a layer. A leaf with folders beside it, such as
  ``log_std``, is a layer of its own.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from l2o.optimizers.parts.paths import plain_leaves, tree_order

Tree = Any


class Leaf(NamedTuple):
    """One leaf of a tree of parameters.

    Attributes:
        path: Its keys, joined by '/'.
        shape: Its shape.
        critic: Whether it belongs to the critic.
        depth: ``i / (L - 1)`` for layer i of the L of its network, in the order of their names; 0
            if L is 1.
        rank: Its place among all leaves, in the order of their names.
    """

    path: str
    shape: tuple[int, ...]
    critic: bool
    depth: float
    rank: int

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(np.prod(self.shape))


def describe(tree: Tree) -> list[Leaf]:
    """Return what is known of each leaf, in tree order; reads shapes only.

    Layers and leaves are counted in the order in which nested dictionaries would have them, which
    is not that of a dataclass's fields: it is the same parameters' in any tree.
    """
    shapes = [(path, jnp.shape(leaf)) for path, leaf in plain_leaves(tree)]
    ordered = sorted((path for path, _ in shapes), key=tree_order)
    layers = _layers(ordered)
    networks: dict[bool, list[str]] = {
        critic: list(dict.fromkeys(layers[path] for path in layers if _is_critic(path) == critic))
        for critic in (False, True)
    }

    def leaf(path: str, shape: tuple[int, ...]) -> Leaf:
        network = networks[_is_critic(path)]
        depth = network.index(layers[path]) / max(len(network) - 1, 1)
        return Leaf(path, shape, _is_critic(path), depth, ordered.index(path))

    return [leaf(*described) for described in shapes]


def _is_critic(path: str) -> bool:
    names = path.lower().split("/")
    named_critic = any("critic" in name and "actor" not in name for name in names)
    return named_critic or any(name.startswith("value") for name in names[:-1])


def _layers(paths: list[str]) -> dict[str, str]:
    """Return the layer of each leaf: its folder, or itself where folders lie beside it."""
    folders = {path: path.rpartition("/")[0] for path in paths}
    branching = set()  # folders that hold folders
    for folder in set(folders.values()):
        while folder:
            folder = folder.rpartition("/")[0]
            branching.add(folder)
    return {path: path if folder in branching else folder for path, folder in folders.items()}

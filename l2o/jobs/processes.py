"""One job on several processes: who writes, who waits, and what everyone has."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

Tree = Any


def is_writer() -> bool:
    """Whether this process is the one that writes results."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)


def anywhere(flag: bool) -> bool:
    """Return whether the flag is set in any process; all of them have to ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def everywhere() -> NamedSharding | None:
    """Return the sharding of arrays that every device has whole; none in a single process."""
    if jax.process_count() == 1:
        return None
    mesh = jax.make_mesh((jax.device_count(),), ("all",), (AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec())


def copy_everywhere(tree: Tree) -> Tree:
    """Make arrays that are the same in all processes usable by programs that span them."""
    sharding = everywhere()
    if sharding is None:
        return tree

    def copy(leaf: jax.Array) -> jax.Array:
        if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.device_put(leaf, sharding)
        # Random keys cannot be put on devices of other processes, but their numbers can.
        numbers = jax.device_put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))

    return jax.tree.map(copy, tree)

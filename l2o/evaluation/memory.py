"""How many agents fit memory side by side."""

import os
import sys
from pathlib import Path

import jax

_SHARE = 0.7
"""Of the free memory that agents may take: their size is an estimate."""


def free_bytes() -> int:
    """Return the free memory of the first device in bytes; on a CPU, that of the machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:  # what Linux could free, file caches included
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(
            int(line.split()[1]) for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def lanes_that_fit(wanted: int, agent_bytes: int, free: int | None = None) -> int:
    """Return how many agents to train side by side; says so if not all fit.

    Args:
        wanted: How many there are.
        agent_bytes: Of each.
        free: Bytes; by default what is free.

    Returns:
        A number from 1 to ``wanted`` that splits them evenly.
    """
    free = free_bytes() if free is None else free
    most = max(1, int(_SHARE * free / agent_bytes))
    turns = -(-wanted // most)
    lanes = -(-wanted // turns)
    if turns > 1:
        print(
            f"memory: {wanted} agents of {agent_bytes / 2**30:.3f} GiB do not fit "
            f"{free / 2**30:.2f} GiB side by side: {lanes} at a time.",
            file=sys.stderr,
        )
    return lanes

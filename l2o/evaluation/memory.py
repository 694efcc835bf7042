"""How many agents fit memory side by side."""

import os
import sys
from pathlib import Path
from typing import Any

import jax

from l2o.errors import ConfigError
from l2o.jobs.failures import lower

LANES_VARIABLE = "L2O_LANES"
"""Environment variable: at most so many agents side by side. It changes no result."""
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


def most_lanes(wanted: int) -> int:
    """Return how many agents to train side by side where the user has set a bound.

    Raises:
        ConfigError: ``L2O_LANES`` is not a positive number.
    """
    text = os.environ.get(LANES_VARIABLE, "")
    if not text:
        return wanted
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{LANES_VARIABLE}: must be a positive number; got '{text}'.")
    return min(wanted, int(text))


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
    fitting = max(1, int(_SHARE * free / agent_bytes))
    turns = -(-wanted // most_lanes(fitting))
    lanes = -(-wanted // turns)
    if fitting < wanted:
        print(
            f"memory: {wanted} agents of {agent_bytes / 2**30:.3f} GiB do not fit "
            f"{free / 2**30:.2f} GiB side by side: {lanes} at a time.",
            file=sys.stderr,
        )
    return lanes


def less_memory(task: str, lifetime: Any, lanes: int) -> list[str]:
    """Return what to try where agents do not fit memory.

    Args:
        task: What they learn.
        lifetime: How they are trained, see :class:`l2o.evaluation.evaluate.Lifetime`.
        lanes: How many side by side.
    """
    if lanes > 1:
        return [f"try {LANES_VARIABLE}={lanes // 2} in the environment: so many agents at a time"]
    own = getattr(lifetime, "environments", None)
    if own is None:
        return lower("transfer.ppo.environments", lifetime.agent.settings.environments)
    return lower(f"toy_tasks.{task}.environments", own)

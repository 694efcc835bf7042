"""Which of XLA's options there are: older emitters, which compile faster, left with jaxlib 0.11."""

import importlib.metadata
from typing import Any

_HAS_OLD_EMITTERS = importlib.metadata.version("jaxlib").startswith("0.10.")


def options(level: int | None = None, old_emitters: bool = False) -> dict[str, Any]:
    """Return options for ``jax.jit``.

    Args:
        level: Of optimisation, 0 to 3; by default that of the process.
        old_emitters: Use them, if there are any.
    """
    chosen = {} if level is None else {"xla_backend_optimization_level": level}
    return chosen | ({"xla_cpu_use_fusion_emitters": not old_emitters} if _HAS_OLD_EMITTERS else {})


def flags(**chosen: Any) -> str:
    """Return the same for the environment variable ``XLA_FLAGS``."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options(**chosen).items())

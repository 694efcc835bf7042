"""Learned optimizers for reinforcement learning, usable from any optax code."""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "import_weights": "l2o.optimizers.imports",
    "list_optimizers": "l2o.optimizers.registry",
    "load": "l2o.optimizers.weights",
    "load_weights": "l2o.optimizers.weights",
    "make_optimizer": "l2o.optimizers.registry",
    "save_weights": "l2o.optimizers.weights",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import l2o`` does not import jax."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'l2o' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

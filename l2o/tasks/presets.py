"""PPO settings by task. Imports no jax."""

from l2o.config.presets import (
    BRAX_PRESETS,
    GYMNAX_PRESETS,
    PRESETS,
    PUBLISHED,
    preset,
    resolve,
)

__all__ = ["BRAX_PRESETS", "GYMNAX_PRESETS", "PRESETS", "PUBLISHED", "preset", "resolve"]

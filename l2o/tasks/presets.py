"""PPO settings by task. Imports no jax."""

from l2o.choices import BROKEN_TASKS
from l2o.config.ppo import PPOSettings
from l2o.config.presets import BRAX_PRESETS, GYMNAX_PRESETS, PRESETS, PUBLISHED
from l2o.errors import look_up

__all__ = ["BRAX_PRESETS", "GYMNAX_PRESETS", "PRESETS", "PUBLISHED", "preset"]


def preset(name: str) -> PPOSettings:
    """Return the PPO settings of a task.

    Raises:
        L2OError: No settings are known for that name; the message gives the nearest valid one.
    """
    return look_up("PPO task", name, PRESETS, BROKEN_TASKS)

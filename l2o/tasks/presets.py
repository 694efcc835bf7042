"""PPO settings by task. Imports no jax."""

import dataclasses

from l2o.choices import BROKEN_TASKS
from l2o.config.ppo import PPOBudget, PPOSettings
from l2o.config.presets import BRAX_PRESETS, GYMNAX_PRESETS, PRESETS, PUBLISHED
from l2o.errors import look_up

__all__ = ["BRAX_PRESETS", "GYMNAX_PRESETS", "PRESETS", "PUBLISHED", "preset", "resolve"]


def preset(name: str) -> PPOSettings:
    """Return the PPO settings of a task.

    Raises:
        L2OError: No settings are known for that name; the message gives the nearest valid one.
    """
    return look_up("PPO task", name, PRESETS, BROKEN_TASKS)


def resolve(name: str, over: PPOBudget) -> PPOSettings:
    """Return the PPO settings of a task with what a configuration replaces; see :func:`preset`."""
    return dataclasses.replace(preset(name), **over.replacements())

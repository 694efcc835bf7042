"""From configuration to lifetimes of PPO agents. Not beside toy tasks: Brax is slow to import."""

import dataclasses

import jax

from l2o.config.models import Transfer
from l2o.config.ppo import PPOSettings
from l2o.evaluation.evaluate import Budget
from l2o.evaluation.memory import lanes_that_fit
from l2o.evaluation.ppo import PPOLifetime
from l2o.tasks.ppo_tasks import make_ppo
from l2o.tasks.presets import preset

_MOST_LANES = 128


def ppo_settings(task: str, transfer: Transfer) -> PPOSettings:
    """Return a task's own PPO settings with the scale's replacements.

    Raises:
        L2OError: PPO learns no task of that name.
    """
    return dataclasses.replace(preset(task), **transfer.ppo.replacements())


def ppo_lifetime(
    task: str, transfer: Transfer, env_steps: int | None = None, points: int | None = None
) -> tuple[PPOLifetime, Budget]:
    """Return how PPO agents are trained on a task, and for how long.

    Args:
        task: A Brax or gymnax task that PPO learns.
        transfer: The transfer section of the configuration.
        env_steps: Environment steps of a lifetime; by default those of the settings.
        points: Points of a learning curve; by default those of the transfer section.

    Raises:
        L2OError: PPO learns no task of that name.
        ConfigError: The settings do not fit together.
    """
    settings = ppo_settings(task, transfer)
    agent = make_ppo(task, settings, transfer.backend)
    lifetime = PPOLifetime(agent, transfer.episodes)
    updates = -(-(env_steps or settings.env_steps) // lifetime.steps_per_update)
    # On a CPU one optimizer's seeds side by side: more do not pay.
    wanted = transfer.seeds if jax.default_backend() == "cpu" else _MOST_LANES
    lanes = lanes_that_fit(wanted, lifetime.agent_bytes())
    return lifetime, Budget(updates, min(points or transfer.points, updates), lanes)

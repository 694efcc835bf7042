"""From configuration to lifetimes: which agents are trained, for how long."""

import dataclasses

import jax

from l2o.agents.ppo import PPO, PPOConfig
from l2o.config import Config, ToyBudget, Transfer
from l2o.errors import ConfigError
from l2o.evaluation.brax import BraxLifetime
from l2o.evaluation.evaluate import Budget
from l2o.evaluation.toy import ToyLifetime
from l2o.tasks.brax import PPOSettings, make_env, published_settings
from l2o.tasks.registry import make_a2c


def toy_lifetime(
    task: str, budget: ToyBudget, interior: bool = True, timeout_terminates: bool = True
) -> tuple[ToyLifetime, Budget]:
    """Return how A2C agents are trained on a toy task, and for how long."""
    agent = make_a2c(task, budget.torso, interior, timeout_terminates)
    return ToyLifetime(agent, budget.environments), Budget(budget.updates, budget.points)


def configured_toy_lifetime(config: Config, task: str) -> tuple[ToyLifetime, Budget]:
    """Return a toy task's lifetime as the pipeline trains it."""
    if task not in config.toy_tasks:
        known = ", ".join(sorted(config.toy_tasks))
        raise ConfigError(f"toy_tasks: no budget for '{task}'; known: {known}.")
    recipe = config.recipes[config.select.recipe]
    return toy_lifetime(task, config.toy_tasks[task], recipe.interior, recipe.timeout_terminates)


def ppo_settings(task: str, transfer: Transfer) -> PPOSettings:
    """Return a Brax task's published settings with the scale's replacements."""
    replacements = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in transfer.ppo.model_dump().items()
        if value is not None
    }
    return dataclasses.replace(published_settings(task), **replacements)


def brax_lifetime(
    task: str, transfer: Transfer, env_steps: int | None = None, points: int | None = None
) -> tuple[BraxLifetime, Budget]:
    """Return how PPO agents are trained on a Brax task, and for how long.

    Args:
        task: A Brax task.
        transfer: The transfer section of the configuration.
        env_steps: Environment steps of a lifetime; by default those of the settings.
        points: Points of a learning curve; by default those of the transfer section.

    Raises:
        ConfigError: The settings do not fit together.
    """
    settings = ppo_settings(task, transfer)
    if settings.batch_size * settings.minibatches % settings.environments:
        raise ConfigError(
            f"transfer.ppo: batch_size x minibatches ({settings.batch_size} x "
            f"{settings.minibatches}) must be a multiple of environments ({settings.environments})."
        )
    config = PPOConfig(**{name: getattr(settings, name) for name in PPOConfig._fields})
    env = make_env(task, transfer.backend, settings.episode_length)
    lifetime = BraxLifetime(PPO(env, config, settings.episode_length), transfer.episodes)
    updates = -(-(env_steps or settings.env_steps) // lifetime.steps_per_update)
    budget = Budget(updates, min(points or transfer.points, updates))
    if jax.default_backend() == "cpu":  # one optimizer's seeds side by side
        budget = dataclasses.replace(budget, lanes=transfer.seeds)
    return lifetime, budget

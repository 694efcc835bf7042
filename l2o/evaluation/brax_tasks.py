"""From configuration to lifetimes of PPO agents. Not beside toy tasks: Brax is slow to import."""

import dataclasses

import jax

from l2o.agents.ppo import PPO, PPOConfig
from l2o.errors import ConfigError
from l2o.evaluation.brax import BraxLifetime
from l2o.evaluation.evaluate import Budget
from l2o.evaluation.memory import lanes_that_fit
from l2o.settings import Transfer
from l2o.tasks.brax import PPOSettings, make_env, published_settings

_MOST_LANES = 128


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
    # On a CPU one optimizer's seeds side by side: more do not pay.
    wanted = transfer.seeds if jax.default_backend() == "cpu" else _MOST_LANES
    lanes = lanes_that_fit(wanted, lifetime.agent_bytes())
    return lifetime, Budget(updates, min(points or transfer.points, updates), lanes)

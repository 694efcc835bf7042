"""From settings to lifetimes of PPO agents. Not beside toy tasks: Brax is slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from l2o.evaluation.evaluate import Budget
from l2o.evaluation.memory import lanes_that_fit
from l2o.evaluation.ppo import PPOLifetime
from l2o.tasks.ppo_tasks import make_ppo
from l2o.tasks.presets import resolve

if TYPE_CHECKING:
    from l2o.config.parts import PPOTraining

_MOST_LANES = 128


def ppo_lifetime(
    task: str,
    training: PPOTraining,
    seeds: int,
    env_steps: int | None = None,
    points: int | None = None,
) -> tuple[PPOLifetime, Budget]:
    """Return how PPO agents are trained on a task, and for how long.

    Args:
        task: A Brax or gymnax task that PPO learns.
        training: Replaces the task's own settings.
        seeds: How many agents of one optimizer there will be; it changes no result.
        env_steps: Environment steps of a lifetime; by default those of the settings.
        points: Points of a learning curve; by default those of ``training``.

    Raises:
        L2OError: PPO learns no task of that name.
        ConfigError: The settings do not fit together.
    """
    settings = resolve(task, training.ppo)
    agent = make_ppo(task, settings, training.backend)
    lifetime = PPOLifetime(agent, training.episodes)
    updates = settings.updates(env_steps)
    # On a CPU one optimizer's seeds side by side: more do not pay.
    wanted = seeds if jax.default_backend() == "cpu" else _MOST_LANES
    lanes = lanes_that_fit(wanted, lifetime.agent_bytes())
    return lifetime, Budget(updates, min(points or training.points, updates), lanes)

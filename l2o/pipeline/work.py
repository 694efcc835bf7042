"""How much a job does, in what its time grows with. Imports no jax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from l2o.choices import TOY_TASKS
from l2o.tasks.presets import resolve

if TYPE_CHECKING:
    from l2o.config.parts import Grid, PPOTraining, ToyTraining


class Work(NamedTuple):
    """What a job does once everything is compiled.

    Attributes:
        steps: Outer steps, or updates of agents.
        learned: Environment steps that agents learn from in all of them.
        played: Environment steps of evaluation episodes.
    """

    steps: float
    learned: float
    played: float = 0.0


def total(parts: Iterable[Work]) -> Work:
    """Return several parts together."""
    return Work(*map(sum, zip(Work(0, 0), *parts, strict=True)))


def agents_work(
    task: str,
    training: ToyTraining | PPOTraining,
    agents: int,
    env_steps: int | None = None,
    points: int | None = None,
) -> Work:
    """Return the work of evaluating optimizers on a task.

    Args:
        task: A toy task, or one that PPO learns.
        training: How agents are trained on it.
        agents: How many.
        env_steps: Of a lifetime of PPO, by default that of the settings.
        points: Of its learning curve, by default those of ``training``.
    """
    if task in TOY_TASKS:
        budget = training.budget
        updates = -(-budget.updates // budget.points) * budget.points
        return Work(agents * updates, agents * updates * budget.environments)
    ppo = resolve(task, training.ppo)
    updates = ppo.updates(env_steps)
    points = min(points or training.points, updates)
    updates = -(-updates // points) * points
    played = agents * points * training.episodes * ppo.episode_length
    return Work(agents * updates, agents * updates * ppo.steps_per_update, played)


def grid_work(task: str, training: PPOTraining, optimizers: int, grid: Grid) -> Work:
    """Return the work of trying a grid of learning rates on a task of PPO."""
    agents = optimizers * len(grid.learning_rates) * grid.tuning_seeds
    return agents_work(task, training, agents, grid.tuning_env_steps, points=1)

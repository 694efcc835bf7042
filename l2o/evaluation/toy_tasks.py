"""From settings to lifetimes of agents on toy tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2o.evaluation.evaluate import Budget
from l2o.evaluation.toy import ToyLifetime
from l2o.tasks.registry import make_toy_agent

if TYPE_CHECKING:
    from l2o.config.parts import ToyTraining


def toy_lifetime(task: str, training: ToyTraining) -> tuple[ToyLifetime, Budget]:
    """Return how agents are trained on a toy task, and for how long.

    Raises:
        L2OError: There is no toy task of that name.
    """
    budget = training.budget
    agent = make_toy_agent(task, budget.torso, training.interior, training.timeout_terminates)
    return ToyLifetime(agent, budget.environments), Budget(budget.updates, budget.points)

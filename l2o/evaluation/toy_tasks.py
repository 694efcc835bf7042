"""From configuration to lifetimes of agents on toy tasks."""

from l2o.config.models import Config, ToyBudget
from l2o.errors import ConfigError
from l2o.evaluation.evaluate import Budget
from l2o.evaluation.toy import ToyLifetime
from l2o.tasks.registry import make_toy_agent


def toy_lifetime(
    task: str, budget: ToyBudget, interior: bool = True, timeout_terminates: bool = True
) -> tuple[ToyLifetime, Budget]:
    """Return how agents are trained on a toy task, and for how long."""
    agent = make_toy_agent(task, budget.torso, interior, timeout_terminates)
    return ToyLifetime(agent, budget.environments), Budget(budget.updates, budget.points)


def configured_toy_lifetime(config: Config, task: str) -> tuple[ToyLifetime, Budget]:
    """Return a toy task's lifetime as the pipeline trains it."""
    if task not in config.toy_tasks:
        known = ", ".join(sorted(config.toy_tasks))
        raise ConfigError(f"toy_tasks: no budget for '{task}'; known: {known}.")
    recipe = config.recipes[config.select.recipe]
    return toy_lifetime(task, config.toy_tasks[task], recipe.interior, recipe.timeout_terminates)

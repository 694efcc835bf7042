"""From settings to lifetimes of agents on any task."""

from l2o.config.parts import PPOTraining, ToyTraining
from l2o.evaluation.evaluate import Budget, Lifetime
from l2o.evaluation.toy_tasks import toy_lifetime


def task_lifetime(
    task: str, training: ToyTraining | PPOTraining, seeds: int
) -> tuple[Lifetime, Budget]:
    """Return how agents are trained on a task, and for how long.

    Args:
        task: A toy task, or one that PPO learns.
        training: How its agents are trained.
        seeds: How many agents of one optimizer there will be; it changes no result.

    Raises:
        L2OError: See :func:`l2o.evaluation.toy_tasks.toy_lifetime` and
            :func:`l2o.evaluation.ppo_tasks.ppo_lifetime`.
    """
    if isinstance(training, PPOTraining):
        from l2o.evaluation.ppo_tasks import ppo_lifetime  # imports Brax, slowly

        return ppo_lifetime(task, training, seeds)
    return toy_lifetime(task, training)

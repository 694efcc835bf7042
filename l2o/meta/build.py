"""From a recipe to a meta-trainer."""

import optax

from l2o.errors import ConfigError
from l2o.meta.outer import MetaTrainer, TrainingTask
from l2o.optimizers.registry import make_optimizer
from l2o.settings import Recipe
from l2o.tasks.registry import make_a2c


def build_trainer(recipe: Recipe) -> MetaTrainer:
    """Build the meta-trainer that a recipe describes.

    Raises:
        L2OError: It names an unknown optimizer, hyperparameter or task.
    """
    hyperparameters = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    optimizer = make_optimizer(recipe.optimizer["name"], **hyperparameters)
    if not optimizer.coordinate_wise:
        raise ConfigError(f"optimizer '{optimizer.name}' is not coordinate-wise.")
    tasks = tuple(
        TrainingTask(
            task.task,
            make_a2c(task.task, None, recipe.interior, recipe.timeout_terminates),
            task.learning_rate,
            task.reward_scale,
            task.weight,
        )
        for task in recipe.tasks
    )
    clip = optax.identity() if recipe.meta_grad_clip is None else optax.clip(recipe.meta_grad_clip)
    return MetaTrainer(
        optimizer,
        tasks,
        optax.chain(clip, optax.adam(recipe.meta_learning_rate)),
        recipe.agents,
        recipe.environments,
        recipe.unroll,
        recipe.resets,
        recipe.reset_interval,
        recipe.objective,
        recipe.task_norm,
    )

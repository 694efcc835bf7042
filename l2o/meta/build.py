"""From a recipe to a meta-trainer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import optax

from l2o.errors import ConfigError
from l2o.meta.estimators import make_estimator
from l2o.meta.held_out import HeldOut
from l2o.meta.loops.toy import ToyLoop
from l2o.meta.objectives import OBJECTIVES, get_objective
from l2o.meta.outer import MetaTrainer, Start
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.registry import make_optimizer
from l2o.tasks.registry import make_toy_agent

if TYPE_CHECKING:
    from l2o.config.recipe import MetaTask, Recipe
    from l2o.meta.loops.base import InnerLoop
    from l2o.meta.objectives import Objective
    from l2o.optimizers.base import LearnedOptimizer


def build_trainer(recipe: Recipe, devices: int = 1) -> MetaTrainer:
    """Build the meta-trainer that a recipe describes.

    Args:
        recipe: What to train and how.
        devices: Devices that share every population.

    Raises:
        L2OError: It names an unknown optimizer, hyperparameter or task, or its estimator cannot
            use its objective; or the devices do not divide the population.
    """
    hyperparameters = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    optimizer = make_optimizer(recipe.optimizer["name"], **hyperparameters)
    objective = get_objective(recipe.objective, recipe.estimator)
    estimator = make_estimator(recipe.estimator, recipe.objective, recipe.shaping)
    if estimator.slots(recipe.agents) % devices:
        raise ConfigError(f"{devices} devices cannot share {recipe.agents} agents equally.")
    loops = tuple(_inner_loop(task, recipe, optimizer, objective) for task in recipe.tasks)
    return MetaTrainer(
        optimizer,
        loops,
        estimator,
        recipe.agents,
        optax.scale_by_adam(recipe.meta_b1),
        recipe.task_norm,
        recipe.meta_warmup,
        recipe.meta_decay,
        recipe.sigma_decay,
        devices,
    )


def starting_point(recipe: Recipe) -> Start:
    """Return the part of a recipe that is data to the compiled program."""
    return Start(**{name: getattr(recipe, name) for name in _data()})


def program_of(recipe: Recipe) -> str:
    """Return what recipes must share to run side by side in one compiled program.

    All but what :func:`starting_point` holds: seeds, meta learning rates, clipping, scales of inner
    learning rates, perturbations and reset schedules may differ.
    """
    return recipe.model_dump_json(exclude=_data())


def _data() -> set[str]:
    return {field.name for field in dataclasses.fields(Start)}


def held_out(recipe: Recipe, trainer: MetaTrainer) -> HeldOut | None:
    """Return the tasks that show how a recipe's meta-training goes; None if it has none."""
    if not recipe.held_out:
        return None
    objectives = {True: OBJECTIVES["late_return"], False: OBJECTIVES["evaluation_return"]}
    loops = (
        _inner_loop(task, recipe, trainer.optimizer, objectives[task.is_toy])
        for task in recipe.held_out
    )
    return HeldOut(tuple(loops), recipe.held_out_agents)


def _inner_loop(
    task: MetaTask, recipe: Recipe, optimizer: LearnedOptimizer, objective: Objective
) -> InnerLoop:
    """Return how the agents of a task are trained."""
    if task.is_toy:
        agent = make_toy_agent(task.task, task.torso, recipe.interior, recipe.timeout_terminates)
    else:
        from l2o.tasks.ppo_tasks import make_ppo  # imports Brax, slowly

        agent = make_ppo(task.task, recipe.settings(task), recipe.backend)
    own = TrainingTask(
        task.label,
        agent,
        task.learning_rate,
        task.reward_scale,
        task.weight,
        recipe.reward_range,
        recipe.parameter_range,
        recipe.rate_range,
        task.lifetime,
    )
    common = (optimizer, own, recipe.unroll, objective)
    if task.is_toy:
        return ToyLoop(*common, recipe.environments, segment=recipe.segment)
    from l2o.meta.loops.ppo import PPOLoop

    return PPOLoop(*common, recipe.evaluation_episodes, segment=recipe.segment)

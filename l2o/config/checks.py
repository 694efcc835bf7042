"""What can be wrong between the keys of a configuration. Imports no jax.

Every check raises a ValueError, which the models turn into a message with the place of the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from l2o.choices import (
    BRAX_BACKENDS,
    BROKEN_TASKS,
    DENSE_TASKS,
    ESTIMATOR_OBJECTIVES,
    LEARNED_OPTIMIZERS,
    PPO_OBJECTIVES,
    PPO_TASKS,
    TOY_OBJECTIVES,
    TOY_TASKS,
)
from l2o.config.presets import resolve
from l2o.errors import unknown_name, unusable

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.config.ppo import PPOBudget
    from l2o.config.recipe import MetaTask, Recipe


def check_name(where: str, kind: str, names: Iterable[object], allowed: Iterable[str]) -> None:
    """Refuse names that are not known, with the nearest one that is."""
    allowed = tuple(allowed)
    for name in names:
        if name not in allowed:
            error = unknown_name(kind, str(name), allowed, BROKEN_TASKS)
            raise ValueError(f"{where}: {_without_stop(error)}")


def check_torso(where: str, task: str, torso: str | None) -> None:
    """Refuse a convolution where there is nothing to convolve."""
    if torso is not None and torso.startswith("C") and task in DENSE_TASKS:
        raise ValueError(f"{where}: a convolution ({torso}) does not fit task '{task}'")


def check_recipe(recipe: Recipe) -> None:
    """Check the names of a recipe, and that its estimator and tasks can use its objective."""
    name = recipe.optimizer.get("name")
    if name is None:
        raise ValueError("optimizer needs a name")
    check_name("optimizer", "learned optimizer", [name], LEARNED_OPTIMIZERS)
    places = (("tasks", recipe.tasks), ("held_out", recipe.held_out))
    for where, tasks in places:
        check_name(where, "task", (task.task for task in tasks), (*TOY_TASKS, *PPO_TASKS))
    allowed = ESTIMATOR_OBJECTIVES[recipe.estimator]
    if recipe.objective not in allowed:
        estimator = f"estimator '{recipe.estimator}'"
        raise ValueError(_without_stop(unusable("objective", recipe.objective, estimator, allowed)))
    for where, tasks in places:
        for task in tasks:
            if task.is_toy:
                _check_toy_task(where, task)
            else:
                _check_ppo_task(where, recipe, task)
    for task in recipe.tasks:
        _check_objective(recipe, task, TOY_OBJECTIVES if task.is_toy else PPO_OBJECTIVES)
        _check_segment(recipe, task, recipe.unroll * recipe.updates(task))
    if both := {task.task for task in recipe.tasks} & {task.task for task in recipe.held_out}:
        raise ValueError(f"held_out: {', '.join(sorted(both))} is meta-trained on")


def _check_toy_task(where: str, task: MetaTask) -> None:
    """Check that the A2C agents or classifiers of a task can be trained."""
    check_torso(where, task.task, task.torso)
    if task.ppo is not None:
        settings = ", ".join(task.ppo.replacements())
        raise ValueError(f"{where}: '{task.label}' is not learned by PPO; remove ppo ({settings})")


def _check_ppo_task(where: str, recipe: Recipe, task: MetaTask) -> None:
    """Check that a recipe can train the PPO agents of a task."""
    if task.torso is not None:
        raise ValueError(
            f"{where}: '{task.label}' is learned by PPO; its networks are ppo.policy_layers and "
            f"ppo.value_layers, not torso"
        )
    check_backend(where, task.task, recipe.backend)
    if problem := recipe.settings(task).problem():
        raise ValueError(f"{where}: with task '{task.label}' {problem}")


def _check_objective(recipe: Recipe, task: MetaTask, possible: tuple[str, ...]) -> None:
    """Refuse an objective that the agents of a task do not have."""
    if recipe.objective not in possible:
        allowed = [name for name in ESTIMATOR_OBJECTIVES[recipe.estimator] if name in possible]
        error = unusable("objective", recipe.objective, f"the agents of '{task.label}'", allowed)
        raise ValueError(f"tasks: {_without_stop(error)}")


def _check_segment(recipe: Recipe, task: MetaTask, updates: int) -> None:
    """Refuse a segment that does not divide the updates of an outer step."""
    if recipe.segment is not None and updates % recipe.segment:
        raise ValueError(
            f"segment must divide the {updates} updates of an outer step on '{task.label}'"
        )


def check_names(config: Config) -> None:
    """Refuse names of tasks that there are not."""
    check_name("toy_tasks", "toy task", config.toy_tasks, TOY_TASKS)
    check_name("select.tasks", "toy task", config.select.tasks, TOY_TASKS)
    for where, tasks in task_places(config):
        check_name(where, "task", tasks, (*TOY_TASKS, *PPO_TASKS))
    check_name("analysis.drift.task", "toy task", [config.analysis.drift.task], TOY_TASKS)
    for task, budget in config.toy_tasks.items():
        check_torso(f"toy_tasks.{task}.torso", task, budget.torso)


def check_ppo(config: Config) -> None:
    """Check that PPO learns what it is to learn, on the backend, with settings that fit."""
    transfer, checked = config.transfer, set()
    for where, tasks in task_places(config):
        if where.startswith("transfer."):
            check_name(where, "PPO task", tasks, PPO_TASKS)
        for task in (task for task in tasks if task in PPO_TASKS):
            check_backend(where, task, transfer.backend)
            if task not in checked:
                check_settings("transfer.ppo", task, transfer.ppo)
                checked.add(task)
    for name, variant in transfer.variants.items():
        both = transfer.ppo.model_copy(update=variant.replacements())
        for task in transfer.variant_tasks:
            check_settings(f"transfer.variants.{name}", task, both)


def check_backend(where: str, task: str, backend: str) -> None:
    """Refuse a Brax task that does not work on a backend; others have none."""
    working = BRAX_BACKENDS.get(task)
    if working is not None and backend not in working:
        error = unusable("backend", backend, f"task '{task}'", working)
        raise ValueError(f"{where}: {_without_stop(error)}")


def check_settings(where: str, task: str, budget: PPOBudget) -> None:
    """Refuse settings that do not fit those of a task that they do not replace."""
    if problem := resolve(task, budget).problem():
        raise ValueError(f"{where}: with task '{task}' {problem}")


def check_sets(config: Config) -> None:
    """Check that training, validation and test tasks are disjoint, and toy tasks have budgets."""
    recipes = config.recipes
    training = {
        task.task
        for recipe in recipes.values()
        if not recipe.control
        for task in (*recipe.tasks, *recipe.held_out)
    }
    for where, name in [("select.recipe", config.select.recipe)] + [
        ("transfer.recipes", name) for name in config.transfer.recipes
    ]:
        if recipes[name].control:
            raise ValueError(
                f"{where}: '{name}' is a control (recipes.{name}.control), and no claim may "
                f"count it; compare it in an ablation"
            )
    validation = set(config.select.tasks)
    compared = {task for ablation in config.ablations.values() for task in ablation.tasks}
    # But for the supervised ones, on which optimizers may be trained.
    test = {*config.transfer.tasks, *config.transfer.variant_tasks}
    test |= compared - set(config.toy_tasks)
    _disjoint("meta-training set", training, "validation tasks (select.tasks)", validation)
    _disjoint("validation tasks (select.tasks)", validation, "test tasks", test)
    _disjoint("meta-training set", training, "test tasks (transfer.tasks)", test)
    _disjoint("transfer.tuning_tasks", set(config.transfer.tuning_tasks), "test tasks", test)
    recorded = {source.task for source in config.analysis.sources.values()}
    needed = (training | validation | compared | recorded) & set(TOY_TASKS)
    if missing := sorted(needed - set(config.toy_tasks)):
        raise ValueError(f"toy_tasks lacks the budget of {', '.join(missing)}")


def task_places(config: Config) -> Iterator[tuple[str, list[str]]]:
    """Yield where tasks are named that PPO learns, or may learn, and which."""
    transfer = config.transfer
    yield "transfer.tasks", transfer.tasks
    yield "transfer.tuning_tasks", transfer.tuning_tasks
    yield "transfer.variant_tasks", transfer.variant_tasks
    for name, ablation in config.ablations.items():
        yield f"ablations.{name}.tasks", ablation.tasks
    for name, source in config.analysis.sources.items():
        yield f"analysis.sources.{name}.task", [source.task]


def _disjoint(name_a: str, a: set[str], name_b: str, b: set[str]) -> None:
    if common := sorted(a & b):
        raise ValueError(f"{name_a} and {name_b} overlap: {', '.join(common)}")


def _without_stop(error: Exception) -> str:
    return str(error).removesuffix(".")

"""A configuration made small, to try all of a scale before it is paid for. Imports no jax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from l2o.choices import TOY_TASKS
from l2o.config.checks import task_places
from l2o.config.ppo import REPLACEABLE, PPOBudget
from l2o.config.presets import resolve
from l2o.errors import look_up

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.config.ppo import PPOSettings
    from l2o.config.recipe import Recipe
    from l2o.config.transfer import Transfer

Cut = Callable[[str, int], int]

TARGETS = {"rehearse": "rehearsal", "miniature": "miniature"}
"""Of the workflow, and the trial that each stands for."""
_NO_BUDGET = frozenset({"optimizer", "max_skipped", "devices", "action_repeat", "meta_warmup"})
"""Keys below which no number is a budget."""
_LEAST = {
    "seeds": 3,
    "evaluation_seeds": 3,
    "evaluation_ppo_seeds": 3,
    "agents": 2,
    "unroll": 2,
    "outer_steps": 2,
    "updates": 52,  # two points in which the longest episodes end
    "points": 2,
    "environments": 4,
    "steps": 4,
    "noise_gradients": 8,
    "window": 4,
    "unroll_length": 2,
    "episode_length": 8,
}
"""What intervals, pairs, sequences and scans need at least."""
_BATCHES = ("agents", "environments", "minibatches", "episodes")
"""How many there are of what time and memory grow with."""
_SIZES = ("environments", "batch_size", "minibatches")
"""Of PPO's batches: they have to fit together."""
# How long and how often, which a rehearsal cuts; all other budgets are sizes.
_LENGTHS = ("outer_steps", "updates", "steps")
_ENV_STEPS = ("env_steps", "tuning_env_steps")
_SEEDS = ("seeds", "tuning_seeds", "evaluation_seeds", "evaluation_ppo_seeds")
_ONCE = ("points", "meta_seeds", "learning_rates", "log_interval", "checkpoint_interval")


def get_trial(words: Sequence[str]) -> str:
    """Return which trial the targets of a command line ask for, or ``""``."""
    return next((trial for target, trial in TARGETS.items() if target in words), "")


def on_trial(config: Config, trial: str) -> Config:
    """Return a configuration as it is, or for a trial of it.

    Raises:
        L2OError: There is no such trial.
    """
    kinds = {"rehearsal": rehearsal, "miniature": miniature}
    return look_up("trial", trial, kinds)(config) if trial else config


def miniature(config: Config, divisor: int = 10**9) -> Config:
    """Return a configuration whose budgets are divided, and in which nothing else differs.

    Every whole number is a budget, but for a few that cost nothing; lists of seeds and of learning
    rates lose their last entries. Networks keep their sizes.

    Args:
        config: The configuration.
        divisor: By default one that leaves the least of everything.
    """

    def cut(name: str, value: int) -> int:
        return min(value, max(_LEAST.get(name, 1), value // divisor))

    return _made(config, cut, "miniature")


def rehearsal(config: Config, updates: int = 1, seeds: int = 1) -> Config:
    """Return a configuration of the same sizes in which everything happens once.

    One outer step, one update, one seed; populations, networks and batches are those of the scale.
    A lifetime of whole-lifetime evolution strategies is one block of inner steps.

    Args:
        config: The configuration.
        updates: So many outer steps, updates and blocks instead.
        seeds: So many agents of each optimizer instead.
    """
    longest = max((one.steps_per_update for one in _resolved(config)), default=1)
    counts = dict.fromkeys(_LENGTHS, updates) | dict.fromkeys(_SEEDS, seeds)
    counts |= dict.fromkeys(_ENV_STEPS, (updates - 1) * longest + 1) | dict.fromkeys(_ONCE, 1)

    def cut(name: str, value: int) -> int:
        return counts.get(name, value)

    made = _made(config, cut, "rehearsal")
    blocks = {"outer_steps": 1, "reset_interval": updates}
    recipes = {
        name: recipe.model_copy(update=blocks if recipe.estimator == "full_es" else {})
        for name, recipe in made.recipes.items()
    }
    return made.model_copy(update={"recipes": recipes})


def smaller(config: Config, divisor: int) -> Config:
    """Return a configuration with smaller populations and batches; networks and unrolls stay."""

    def cut(name: str, value: int) -> int:
        return max(value // divisor, 1) if name in _BATCHES else value

    made = _made(config, cut, config.trial)
    recipes = {  # whose agents are fewer already
        name: recipe.model_copy(update={"environments": config.recipes[name].environments})
        for name, recipe in made.recipes.items()
    }
    return made.model_copy(update={"recipes": recipes})


def _made(config: Config, cut: Cut, trial: str | None) -> Config:
    small = _cut(config, cut)
    recipes = {
        name: _valid(_with_own_ppo(config.recipes[name], recipe, cut), config.recipes[name].agents)
        for name, recipe in small.recipes.items()
    }
    transfer = _with_ppo(config, small.transfer, cut)
    return small.model_copy(update={"recipes": recipes, "transfer": transfer, "trial": trial})


def _cut(value: Any, cut: Cut, name: str = "") -> Any:
    """Apply a function of name and number to every number that is a budget."""
    if name in _NO_BUDGET:
        return value
    if isinstance(value, pydantic.BaseModel):
        return value.model_copy(update={key: _cut(item, cut, key) for key, item in value})
    if isinstance(value, dict):
        return {key: _cut(item, cut) for key, item in value.items()}
    if isinstance(value, list):
        kept = value[: cut(name, len(value))] if name in ("meta_seeds", "learning_rates") else value
        return [_cut(item, cut) if isinstance(item, pydantic.BaseModel) else item for item in kept]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return cut(name, value) if is_number else value


def _valid(recipe: Recipe, most: int) -> Recipe:
    """Return a recipe whose numbers fit together again, with at most so many agents."""
    log = recipe.log_interval
    checkpoint = max(recipe.checkpoint_interval // log, 1) * log
    outer = max(recipe.outer_steps // checkpoint, 1) * checkpoint
    reset = recipe.reset_interval
    if recipe.resets == "synchronous" and reset >= outer:
        reset, outer = 1, max(outer, 2 * checkpoint)
    changes = {
        "checkpoint_interval": checkpoint,
        "outer_steps": outer,
        "reset_interval": reset,
        "agents": min(recipe.agents + recipe.agents % 2, most),
        "segment": recipe.segment and math.gcd(recipe.segment, *_updates(recipe)),
    }
    return recipe.model_copy(update=changes)


def _updates(recipe: Recipe) -> list[int]:
    """Return the updates of an outer step on each task."""
    return [recipe.unroll * recipe.updates(task) for task in recipe.tasks]


def _with_own_ppo(recipe: Recipe, small: Recipe, cut: Cut) -> Recipe:
    """Return a recipe whose PPO settings are cut, for all tasks alike."""
    lists = {"tasks": recipe.tasks, "held_out": recipe.held_out}
    every = [recipe.settings(task) for tasks in lists.values() for task in tasks if not task.is_toy]
    own = _cut_ppo(every, cut)
    if not own:
        return small
    left = dict.fromkeys(own)  # to the recipe
    changes: dict[str, Any] = {
        name: [
            task.model_copy(update={"ppo": task.ppo and task.ppo.model_copy(update=left)})
            for task in tasks
        ]
        for name, tasks in lists.items()
    }
    changes["ppo"] = (recipe.ppo or PPOBudget()).model_copy(update=own)
    return small.model_copy(update=changes)


def _resolved(config: Config) -> list[PPOSettings]:
    """Return the settings of every task that PPO learns."""
    named = (task for _, tasks in task_places(config) for task in tasks)
    by_ppo = (task for task in dict.fromkeys(named) if task not in TOY_TASKS)
    return [resolve(task, config.transfer.ppo) for task in by_ppo]


def _with_ppo(config: Config, small: Transfer, cut: Cut) -> Transfer:
    """Return a transfer whose PPO settings are cut, also those that come from the presets."""
    every = _resolved(config)
    ppo = small.ppo.model_copy(update=_cut_ppo(every, cut))
    variants = {}
    for name, over in config.transfer.variants.items():
        given = over.replacements()
        own = _cut_ppo([dataclasses.replace(one, **given) for one in every], cut)
        changes = {key: value for key, value in own.items() if key in given or key in _SIZES}
        variants[name] = over.model_copy(update=changes)
    return small.model_copy(update={"ppo": ppo, "variants": variants})


def _cut_ppo(resolved: list[Any], cut: Cut) -> dict[str, int]:
    """Return the budgets of all tasks, those of the largest one, where any is cut."""
    found = {}
    for name in REPLACEABLE:
        values = [getattr(one, name) for one in resolved]
        if name in _NO_BUDGET or not all(type(value) is int for value in values):
            continue
        if any(cut(name, value) != value for value in values):
            found[name] = max(cut(name, value) for value in values)
    if any(name in found for name in _SIZES):
        sizes = [max(found.get(name, getattr(one, name)) for one in resolved) for name in _SIZES]
        # As many environments as share a batch equally.
        found |= zip(_SIZES, (math.gcd(sizes[0], sizes[1] * sizes[2]), *sizes[1:]), strict=True)
    return found

"""The parts of a configuration that stages get.

Imports no jax, and no configuration at run time: what a stage depends on is these values, not how
they were read and checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from l2o.errors import ConfigError, look_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from l2o.config.budgets import ToyBudget
    from l2o.config.models import Config
    from l2o.config.ppo import PPOBudget
    from l2o.config.transfer import Transfer


class ToyTraining(NamedTuple):
    """How agents are trained on a toy task where optimizers are evaluated."""

    budget: ToyBudget
    interior: bool = True
    timeout_terminates: bool = True


class PPOTraining(NamedTuple):
    """How agents are trained by PPO, and evaluated."""

    ppo: PPOBudget
    backend: str
    episodes: int
    points: int


class Grid(NamedTuple):
    """Learning rates that every optimizer tries, each with so many seeds."""

    learning_rates: tuple[float, ...]
    tuning_seeds: int
    tuning_env_steps: int | None = None


class Contenders(NamedTuple):
    """What takes part in the transfer evaluation.

    Attributes:
        selected: The recipe of the champion.
        others: Further recipes, with the seed of the meta-training whose last checkpoint is taken.
        optimizers: Name of the optimizer of each of these recipes.
        classical: Classical optimizers.
    """

    selected: str
    others: dict[str, int]
    optimizers: dict[str, str]
    classical: tuple[str, ...]

    @property
    def number(self) -> int:
        """How many there are, with the champion and its untrained initialisation."""
        return 2 + len(self.others) + len(self.classical)


class Recording(NamedTuple):
    """Agents whose gradients are recorded.

    Attributes:
        source: Their name.
        task: What they learn.
        learning_rate: Adam's.
        training: How they are trained.
        seeds: How many.
        noise_gradients: Gradients at fixed parameters from which the true one is estimated.
        window: Successive gradients kept per phase.
        coordinates: Of which they are kept.
    """

    source: str
    task: str
    learning_rate: float
    training: ToyTraining | PPOTraining
    seeds: int
    noise_gradients: int
    window: int
    coordinates: int


def toy_training(config: Config, task: str) -> ToyTraining:
    """Return how agents are trained on a toy task.

    Raises:
        ConfigError: The configuration has no budget for it.
    """
    if task not in config.toy_tasks:
        known = ", ".join(sorted(config.toy_tasks))
        raise ConfigError(f"toy_tasks: no budget for '{task}'; known: {known}.")
    recipe = config.recipes[config.select.recipe]
    return ToyTraining(config.toy_tasks[task], recipe.interior, recipe.timeout_terminates)


def toy_trainings(config: Config, tasks: Iterable[str]) -> dict[str, ToyTraining]:
    """Return how agents are trained, by task."""
    return {task: toy_training(config, task) for task in tasks}


def ppo_training(config: Config, variant: str | None = None) -> PPOTraining:
    """Return how agents are trained by PPO.

    Args:
        config: The configuration.
        variant: Name of an agent off the preset.

    Raises:
        L2OError: There is no such variant.
    """
    transfer: Transfer = config.transfer
    ppo = transfer.ppo
    if variant is not None:
        over = look_up("variant", variant, transfer.variants)
        ppo = ppo.model_copy(update=over.replacements())
    return PPOTraining(ppo, transfer.backend, transfer.episodes, transfer.points)


def ppo_grid(config: Config) -> Grid:
    """Return the learning rates that are tried with PPO."""
    transfer = config.transfer
    return Grid(tuple(transfer.learning_rates), transfer.tuning_seeds, transfer.tuning_env_steps)


def contenders(config: Config) -> Contenders:
    """Return what takes part in the transfer evaluation."""
    selected, others = config.select.recipe, config.transfer.recipes
    return Contenders(
        selected,
        {recipe: config.training_seeds(recipe)[0] for recipe in others},
        {recipe: config.recipes[recipe].optimizer["name"] for recipe in (selected, *others)},
        tuple(config.baselines.optimizers),
    )

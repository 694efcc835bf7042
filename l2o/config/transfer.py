"""Settings of the transfer evaluation."""

from typing import Literal

from l2o.choices import BACKENDS
from l2o.config.base import Model, Name, Positive, PositiveFloat, field
from l2o.config.ppo import PPOBudget


class Transfer(Model):
    """Transfer evaluation with PPO."""

    tasks: list[Name] = field("Test tasks.", min_length=1)
    tuning_tasks: list[Name] = field(
        "Validation tasks on which every optimizer's learning rate is chosen.", min_length=1
    )
    recipes: list[Name] = field(
        "More learned optimizers to compare with: recipes, each with the last checkpoint of its "
        "first seed.",
        [],
    )
    backend: Literal[*BACKENDS] = field("Physics backend.")
    learning_rates: list[PositiveFloat] = field("Grid, the same for every optimizer.", min_length=1)
    tuning_seeds: Positive = field("Seeds of each grid point.")
    tuning_env_steps: Positive = field("Environment steps of a tuning lifetime.")
    oracle: bool = field(
        "Also tune on the test task itself, with the same budget, as a row of its own.", False
    )
    seeds: Positive = field("Seeds on each test task.")
    points: Positive = field("Points of a learning curve.", 10)
    episodes: Positive = field("Deterministic evaluation episodes per point.", 16)
    ppo: PPOBudget = field("Replaces published PPO settings.", PPOBudget())
    variants: dict[Name, PPOBudget] = field(
        "Agents off the preset, by name, as further replacements; `transfer_variants` trains them.",
        {},
    )
    variant_tasks: list[Name] = field("Test tasks on which variants are trained.", [])

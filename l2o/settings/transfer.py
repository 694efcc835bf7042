"""Settings of the transfer evaluation."""

from typing import Annotated, Any, Literal

import pydantic

from l2o.settings.base import Fraction, Layers, Model, Name, Positive, PositiveFloat, field


class PPOBudget(Model):
    """PPO settings of one scale that replace the published ones of a task; none keeps them."""

    environments: Positive | None = field("Parallel environments.", None)
    batch_size: Positive | None = field("Unrolls per minibatch.", None)
    minibatches: Positive | None = field("Minibatches per epoch.", None)
    unroll_length: Positive | None = field("Environment steps per unroll.", None)
    epochs: Positive | None = field("Passes over each batch.", None)
    clip: PositiveFloat | None = field("Bound on the probability ratio.", None)
    discount: Fraction | None = field("Discount factor.", None)
    entropy_weight: Annotated[float, pydantic.Field(ge=0)] | None = field(
        "Weight of the entropy bonus.", None
    )
    reward_scale: PositiveFloat | None = field("Multiplies the rewards.", None)
    policy_layers: Layers | None = field("Hidden sizes of the policy network.", None)
    value_layers: Layers | None = field("Hidden sizes of the value network.", None)
    activation: Literal["swish", "relu", "tanh"] | None = field("Of both networks.", None)
    action_repeat: Positive | None = field("Physics steps per action.", None)
    truncation: Literal["bootstrap", "mask"] | None = field(
        "At time limits: add the value of what was cut off, or leave the step out.", None
    )
    env_steps: Positive | None = field("Environment steps of a lifetime.", None)
    episode_length: Positive | None = field("Steps until an episode is truncated.", None)

    def replacements(self) -> dict[str, Any]:
        """Return what is given."""
        return self.model_dump(exclude_none=True)


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
    backend: Literal["spring", "generalized", "positional", "mjx"] = field("Physics backend.")
    learning_rates: list[PositiveFloat] = field("Grid, the same for every optimizer.")
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

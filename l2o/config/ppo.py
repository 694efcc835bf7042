"""PPO's hyperparameters, and which of them a configuration may replace. Imports no jax."""

import dataclasses
import typing
from typing import Annotated, Any, Literal

import pydantic

from l2o.choices import ACTIVATIONS, INITIALIZERS, TRUNCATIONS
from l2o.config.base import Fraction, Layers, Model, Positive, PositiveFloat, field


@dataclasses.dataclass(frozen=True)
class PPOSettings:
    """PPO hyperparameters of one task; what each is stands in its annotation.

    Defaults are shared by Brax's settings. Environment steps include repeated actions, as in Brax;
    the discount is one per action. Either network's gradient is scaled down to ``max_grad_norm``
    before the optimizer sees it.

    ``truncation``: ``"bootstrap"`` adds the discounted value of the observation that a time limit
    cut off to the last reward; ``"mask"`` leaves the truncated step out of the policy loss and its
    value at what it is, as Brax does. ``initializer``: ``"lecun_uniform"`` (Brax), or
    ``"orthogonal"`` with gain sqrt(2), 0.01 in the policy's last layer and 1 in the value
    network's.
    """

    env_steps: Annotated[Positive, "Environment steps of a lifetime."]
    environments: Annotated[Positive, "Parallel environments."]
    batch_size: Annotated[Positive, "Unrolls per minibatch."]
    unroll_length: Annotated[Positive, "Environment steps per unroll."]
    epochs: Annotated[Positive, "Passes over each batch."]
    discount: Annotated[Fraction, "Discount factor."]
    entropy_weight: Annotated[float, pydantic.Field(ge=0), "Weight of the entropy bonus."]
    reward_scale: Annotated[PositiveFloat, "Multiplies the rewards."]
    learning_rate: Annotated[PositiveFloat, "Published learning rate of Adam."]
    minibatches: Annotated[Positive, "Minibatches per epoch."] = 32
    gae_lambda: Annotated[Fraction, "Lambda of generalised advantage estimation."] = 0.95
    clip: Annotated[PositiveFloat, "Bound on the probability ratio."] = 0.3
    value_weight: Annotated[PositiveFloat, "Weight of half the mean squared value error."] = 0.5
    max_grad_norm: Annotated[PositiveFloat | None, "Bound on the global norm; none for none."] = (
        None
    )
    action_repeat: Annotated[Positive, "Physics steps per action."] = 1
    truncation: Annotated[
        Literal[*TRUNCATIONS],
        "At time limits: add the value of what was cut off, or leave the step out.",
    ] = "bootstrap"
    activation: Annotated[Literal[*ACTIVATIONS], "Of both networks."] = "swish"
    initializer: Annotated[Literal[*INITIALIZERS], "Of both networks."] = "lecun_uniform"
    normalize_observations: Annotated[bool, "By their running mean and deviation."] = True
    deterministic_evaluation: Annotated[bool, "Evaluate the policy's mode; else sample."] = True
    policy_layers: Annotated[Layers, "Hidden sizes of the policy network."] = (32,) * 4
    value_layers: Annotated[Layers, "Hidden sizes of the value network."] = (256,) * 5
    episode_length: Annotated[Positive, "Steps until an episode is truncated."] = 1000

    @property
    def steps_per_update(self) -> int:
        """Environment steps, repeated actions included, of one update.

        An update is collection, then several epochs of minibatches.
        """
        actions = self.batch_size * self.minibatches * self.unroll_length
        return actions * self.action_repeat

    def updates(self, env_steps: int | None = None) -> int:
        """Return the updates of a lifetime of so many steps, by default that of the settings."""
        return -(-(env_steps or self.env_steps) // self.steps_per_update)

    @property
    def actions_per_episode(self) -> int:
        """Actions until an episode is truncated."""
        return -(-self.episode_length // self.action_repeat)

    def problem(self) -> str | None:
        """Say which settings do not fit together, or return None."""
        if self.batch_size * self.minibatches % self.environments:
            return (
                f"batch_size x minibatches ({self.batch_size} x {self.minibatches}) "
                f"must be a multiple of environments ({self.environments})"
            )
        if self.unroll_length > self.actions_per_episode:
            return (
                f"unroll_length x action_repeat ({self.unroll_length} x {self.action_repeat}) "
                f"must not exceed episode_length ({self.episode_length})"
            )
        return None


REPLACEABLE = (
    *("environments", "batch_size", "minibatches", "unroll_length", "epochs", "clip", "discount"),
    *("entropy_weight", "reward_scale", "policy_layers", "value_layers", "activation"),
    *("action_repeat", "truncation", "env_steps", "episode_length"),
)
"""Of the settings, those that a scale or a variant may replace."""


class _Replacements(Model):
    """PPO settings of one scale that replace the published ones of a task; none keeps them."""

    def replacements(self) -> dict[str, Any]:
        """Return what is given."""
        return self.model_dump(exclude_none=True)


def _replacing(names: tuple[str, ...]) -> dict[str, Any]:
    """Return each setting as an optional field, with the type and the text that it has there."""
    hints = typing.get_type_hints(PPOSettings, include_extras=True)
    return {name: (hints[name] | None, field(hints[name].__metadata__[-1], None)) for name in names}


PPOBudget = pydantic.create_model(
    "PPOBudget", __base__=_Replacements, __doc__=_Replacements.__doc__, **_replacing(REPLACEABLE)
)

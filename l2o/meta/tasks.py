"""What agents learn during meta-training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l2o.agents.classifier import ToyAgent
    from l2o.agents.ppo.agent import PPO  # imports Brax, slowly


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """A task in the meta-training set.

    Attributes:
        name: Its name, for metrics.
        agent: The agent's algorithm and environment, or a classifier.
        learning_rate: Inner learning rate.
        reward_scale: Multiplies the rewards.
        weight: Of its meta-gradient in the mean over tasks.
        reward_range: Each lifetime's rewards are also multiplied by a factor that is log-uniform
            between this and its inverse; 1 for none.
        parameter_range: Each lifetime's optimizer sees each tensor of parameters divided by such a
            factor, and its gradient multiplied by it (reparametrisation); 1 for none.
        rate_range: Each lifetime's learning rate is multiplied by such a factor; 1 for none.
        lifetime: Of a lifetime of the schedule, the share that one of this task lasts.
    """

    name: str
    agent: ToyAgent | PPO
    learning_rate: float
    reward_scale: float = 1.0
    weight: float = 1.0
    reward_range: float = 1.0
    parameter_range: float = 1.0
    rate_range: float = 1.0
    lifetime: float = 1.0

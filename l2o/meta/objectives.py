"""What meta-training minimises or, as a return, maximises."""

from typing import NamedTuple

from l2o.choices import ESTIMATOR_OBJECTIVES
from l2o.errors import unusable


class Objective(NamedTuple):
    """A measure of how well agents do.

    Attributes:
        term: ``"agent_loss"``, its ``"actor"`` term alone, or ``"return"``, the sum of rewards of
            a rollout, mean over environments.
        over: The rollouts that it is measured on: the ``"next"`` one, after the last inner step;
            all that follow an inner step (``"unroll"``); those that the agents learn from
            (``"during"``); or episodes of ``"evaluation"``.

    The return of PPO agents is that of the episodes that finished while they learned.
    """

    term: str
    over: str


OBJECTIVES = {
    "agent_loss": Objective("agent_loss", "next"),
    "actor": Objective("actor", "next"),
    "mean_agent_loss": Objective("agent_loss", "unroll"),
    "mean_actor": Objective("actor", "unroll"),
    "return": Objective("return", "next"),
    "mean_return": Objective("return", "unroll"),
    "final_return": Objective("return", "during"),
    "late_return": Objective("return", "during"),
    "lifetime_return": Objective("return", "during"),
    "evaluation_return": Objective("return", "evaluation"),
}


def get_objective(name: str, estimator: str) -> Objective:
    """Return an objective by name.

    Raises:
        ConfigError: The estimator cannot use it.
    """
    if name not in (allowed := ESTIMATOR_OBJECTIVES[estimator]):
        raise unusable("objective", name, f"estimator '{estimator}'", allowed)
    return OBJECTIVES[name]

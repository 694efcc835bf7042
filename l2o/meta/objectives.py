"""What meta-training minimises or, as a return, maximises."""

from typing import NamedTuple

from l2o.errors import ConfigError


class Objective(NamedTuple):
    """A measure of how well agents do.

    Attributes:
        term: ``"agent_loss"``, its ``"actor"`` term alone, or ``"return"``, the sum of rewards of
            a rollout, mean over environments.
        over: The rollouts that it is measured on: the ``"next"`` one, after the last inner step;
            all that follow an inner step (``"unroll"``); or those that the agents learn from
            (``"during"``).
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
}
_DIFFERENTIABLE = ("agent_loss", "actor", "mean_agent_loss", "mean_actor")
_MEASURABLE = {
    "truncated_gradient": _DIFFERENTIABLE,
    "truncated_es": ("return", "mean_return", "agent_loss", "mean_agent_loss"),
    "pes": ("return", "mean_return", "agent_loss", "mean_agent_loss"),
    "full_es": ("final_return", "late_return", "lifetime_return"),
}
"""A return has no gradient; the value of the actor term, unlike its gradient, says nothing."""


def get_objective(name: str, estimator: str) -> Objective:
    """Return an objective by name.

    Raises:
        ConfigError: The estimator cannot use it.
    """
    if name not in _MEASURABLE[estimator]:
        allowed = ", ".join(_MEASURABLE[estimator])
        raise ConfigError(f"estimator '{estimator}' cannot use objective '{name}', only {allowed}.")
    return OBJECTIVES[name]

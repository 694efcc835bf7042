"""Estimators of the meta-gradient, by name."""

from l2o.meta.estimators.base import Estimator
from l2o.meta.estimators.evolution import PES, TruncatedES
from l2o.meta.estimators.full_es import FullES
from l2o.meta.estimators.truncated_gradient import TruncatedGradient

_LAST = {"final_return": 0.1, "late_return": 0.5, "lifetime_return": 1.0, "evaluation_return": 0.0}
"""Share of a lifetime, at its end, that an objective looks at."""


def make_estimator(name: str, objective: str, shaping: str) -> Estimator:
    """Build an estimator.

    Args:
        name: ``"truncated_gradient"``, ``"truncated_es"``, ``"pes"`` or ``"full_es"``.
        objective: Name of the objective.
        shaping: How evolution strategies normalise losses within a task.
    """
    if name == "truncated_gradient":
        return TruncatedGradient()
    if name == "full_es":
        return FullES(shaping, _LAST[objective])
    return {"truncated_es": TruncatedES, "pes": PES}[name](shaping)

"""Intervals for meta-training runs that are few, each evaluated by several agents.

Agents that one meta-trained optimizer trained say what that optimizer does, not what its recipe
does again. So meta-training runs are resampled, then the agents within each, and the interval is
widened for there being so few runs. Imports no jax.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from l2o.statistics.aggregates import interquartile_means
from l2o.statistics.bootstrap import RESAMPLES, Statistic
from l2o.statistics.returns import MIN_SEEDS

_SEED = 0


def nested_estimate(
    scores: Sequence[np.ndarray], statistic: Statistic, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return a statistic and its 95% interval by a bootstrap on two levels.

    A sample draws as many meta-training runs as there are, then as many agents within each, apart
    on every task. The percentile interval of its values is stretched about the estimate by
    ``t / 1.96 * sqrt(n / (n - 1))``, with ``n`` the fewest runs of an array and ``t`` the 97.5%
    quantile of Student's t distribution: a bootstrap of n values has a variance too small by
    ``(n - 1) / n``, and n values know it poorly. Normal runs are then covered as promised.

    Args:
        scores: One or several arrays ``[runs, agents, tasks]``, resampled independently.
        statistic: Takes arrays ``[samples, runs * agents, tasks]``, returns ``[samples]``.
        resamples: Bootstrap samples.

    Returns:
        The statistic, and the ends of its interval: NaN with fewer than three runs.
    """
    value = float(statistic(*(_flat(part[None]) for part in scores))[0])
    fewest = min(len(part) for part in scores)
    if fewest < MIN_SEEDS:
        return value, np.nan, np.nan
    rng = np.random.default_rng(_SEED)
    drawn = statistic(*(_flat(_resample(part, resamples, rng)) for part in scores))
    low, high = np.quantile(drawn, [0.025, 0.975])
    freedom = sum(len(part) - 1 for part in scores)
    student, normal = special.stdtrit(freedom, 0.975), special.ndtri(0.975)
    stretch = student / normal * np.sqrt(fewest / (fewest - 1))
    return value, float(value - stretch * (value - low)), float(value + stretch * (high - value))


def _resample(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``[samples, runs, agents, tasks]``."""
    runs, agents, tasks = scores.shape
    run = rng.integers(runs, size=(resamples, runs, 1, 1))
    agent = rng.integers(agents, size=(resamples, runs, agents, tasks))
    return scores[run, agent, np.arange(tasks)]


def _flat(scores: np.ndarray) -> np.ndarray:
    samples, runs, agents, tasks = scores.shape
    return scores.reshape(samples, runs * agents, tasks)


def mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean over runs, agents and tasks, ``[samples]``."""
    return scores.mean(axis=(1, 2))


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half over runs, agents and tasks, ``[samples]``."""
    return interquartile_means(np.moveaxis(scores, 0, -1))


def difference(of: Statistic) -> Statistic:
    """Return the statistic of the first array minus that of the second."""
    return lambda x, y: of(x) - of(y)

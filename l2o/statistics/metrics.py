"""Functions of arrays of scores, fast enough to be resampled. Imports no jax."""

import numpy as np

from l2o.statistics.bootstrap import Statistic


def shares_above(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of scores above each threshold, as rliable's ``score_distributions``.

    That one goes through the thresholds one by one, a hundred times slower.

    Args:
        scores: ``[seeds, tasks]``.
        thresholds: ``[thresholds]``.
    """
    return (scores[..., None] > thresholds).mean(axis=(0, 1))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return P(x > y) + P(x = y) / 2, mean over tasks, as rliable's function of this name.

    That one also computes the p-values of a rank test, a hundred times slower.

    Args:
        x: ``[..., seeds, tasks]``.
        y: ``[..., seeds, tasks]``, maybe with other seeds.

    Returns:
        ``[...]``, at least ``[1]``.
    """
    signs = np.sign(x[..., :, None, :] - y[..., None, :, :])
    return np.atleast_1d(0.5 + 0.5 * signs.mean(axis=(-3, -2, -1)))


def interquartile_means(scores: np.ndarray) -> np.ndarray:
    """Return rliable's ``aggregate_iqm`` at every point of the curves at once, ``[points]``.

    Args:
        scores: ``[seeds, tasks, points]``.
    """
    ordered = np.sort(scores.reshape(-1, scores.shape[-1]), axis=0)
    cut = int(0.25 * len(ordered))
    return ordered[cut : len(ordered) - cut].mean(axis=0)


def mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean over runs, agents and tasks, ``[samples]``."""
    return scores.mean(axis=(1, 2))


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half over runs, agents and tasks, ``[samples]``."""
    return interquartile_means(np.moveaxis(scores, 0, -1))


def difference(of: Statistic) -> Statistic:
    """Return the statistic of the first array minus that of the second."""
    return lambda x, y: of(x) - of(y)

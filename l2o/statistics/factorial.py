"""Main effects and interactions of a full factorial ablation; imports no jax."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from l2o.statistics.bootstrap import nested_estimate
from l2o.statistics.metrics import interquartile_mean


def contrasts(
    factors: Mapping[str, Sequence[str]], recipes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the weight of every recipe in every term.

    Args:
        factors: By factor, the recipes in which it is present.
        recipes: All of them, each combination of factors once.

    Returns:
        Weights ``[recipes]`` by term; half of them add up to 1, the others to -1.
    """
    signs = {
        name: np.array([1.0 if recipe in present else -1.0 for recipe in recipes])
        for name, present in factors.items()
    }
    terms = {}
    for size in range(1, len(factors) + 1):
        for names in itertools.combinations(factors, size):
            product = np.prod([signs[name] for name in names], axis=0)
            terms[" x ".join(names)] = 2 * product / len(recipes)
    return terms


def factor_rows(
    role: str, factors: Mapping[str, Sequence[str]], scores: Mapping[str, np.ndarray]
) -> Iterator[tuple]:
    """Yield a row of :data:`l2o.statistics.columns.comparisons.FACTOR_COLUMNS` for every term.

    Args:
        role: Of the tasks.
        factors: See :func:`contrasts`.
        scores: By recipe, ``[runs, agents, tasks]``.
    """
    for term, weights in contrasts(factors, list(scores)).items():

        def effect(*arrays: np.ndarray, weights: np.ndarray = weights) -> np.ndarray:
            parts = (w * interquartile_mean(x) for w, x in zip(weights, arrays, strict=True))
            return sum(parts)

        found = nested_estimate(list(scores.values()), effect)
        yield role, term, *found, len(scores), min(map(len, scores.values()))

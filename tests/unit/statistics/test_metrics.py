import sys

import numpy as np
import pytest

from l2o.statistics.bootstrap import nested_estimate, stratified_interval
from l2o.statistics.metrics import (
    difference,
    interquartile_mean,
    interquartile_means,
    mean,
    probability_of_improvement,
    shares_above,
)


@pytest.mark.parametrize("seeds", [2, 3, 5, 7])
def test_fast_statistics_are_those_of_rliable(seeds):
    from rliable import metrics

    scores = np.random.default_rng(seeds).integers(0, 6, (seeds, 3, 4)).astype(float)
    iqm = [metrics.aggregate_iqm(scores[..., i]) for i in range(4)]
    np.testing.assert_allclose(interquartile_means(scores), iqm)
    x, y = scores[..., 0], scores[1:, :, 1]
    theirs = metrics.probability_of_improvement(x, y)
    np.testing.assert_allclose(probability_of_improvement(x, y), [theirs])
    thresholds = np.linspace(-1, 6, 15)
    stratified_interval(np.ones((3, 1)), lambda s: s.mean(keepdims=True)[0], 5)  # imports it
    library = sys.modules["rliable.library"]
    profile = library.score_distributions(x, thresholds)
    np.testing.assert_allclose(shares_above(x, thresholds), profile)


def test_statistics_are_those_of_the_scores():
    x = np.array([[[1.0], [2.0]], [[3.0], [4.0]], [[5.0], [100.0]]])
    y = np.full((3, 2, 1), 3.0)
    assert nested_estimate([x], interquartile_mean)[0] == np.mean([2.0, 3.0, 4.0, 5.0])
    assert nested_estimate([x, y], probability_of_improvement)[0] == (3 + 0.5) / 6
    assert nested_estimate([x, y], difference(mean))[0] == pytest.approx(115 / 6 - 3)

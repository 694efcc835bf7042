"""Intervals over meta-training runs: they keep their promise, also for three runs."""

import numpy as np
import pytest

from l2o.statistics.bootstrap import nested_estimate
from l2o.statistics.metrics import (
    difference,
    interquartile_mean,
    mean,
    probability_of_improvement,
)


def runs(rng, number=3, agents=4, tasks=1, between=1.0, within=0.5, level=0.0):
    """Runs that differ, each with agents that differ."""
    centre = level + between * rng.normal(size=(number, 1, 1))
    return centre + within * rng.normal(size=(number, agents, tasks))


@pytest.mark.parametrize("number", [3, 5])
@pytest.mark.parametrize("within", [0.2, 2.0])
def test_equal_recipes_differ_in_one_case_of_twenty(number, within):
    rng = np.random.default_rng(0)
    of = difference(mean)
    wrong = 0
    for _ in range(400):
        pair = [runs(rng, number, within=within) for _ in range(2)]
        _, low, high = nested_estimate(pair, of, 300)
        wrong += low > 0 or high < 0
    assert wrong / 400 < 0.075


def test_a_level_is_covered():
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        _, low, high = nested_estimate([runs(rng, level=2.0)], mean, 300)
        missed += not low <= 2.0 <= high
    assert missed / 400 < 0.08


def test_a_clear_difference_is_found():
    rng = np.random.default_rng(2)
    pair = [runs(rng, between=0.1, within=0.2, level=level) for level in (2.0, 0.0)]
    value, low, high = nested_estimate(pair, difference(interquartile_mean))
    assert low > 1 and low < value < high < 3
    probability, *_ = nested_estimate(pair, probability_of_improvement)
    assert probability == 1


def test_agents_of_one_run_say_nothing_about_the_others():
    """A hundred agents of each of three runs: the interval is still that of three runs."""
    rng = np.random.default_rng(3)
    scores = runs(rng, agents=100)
    few, many = (nested_estimate([part], mean) for part in (scores[:, :4], scores))
    assert (many[2] - many[1]) > 0.6 * (few[2] - few[1])


def test_fewer_than_three_runs_have_no_interval():
    rng = np.random.default_rng(4)
    value, low, high = nested_estimate([runs(rng, 2), runs(rng, 3)], difference(mean))
    assert np.isfinite(value) and np.isnan(low) and np.isnan(high)


def test_the_same_scores_give_the_same_interval():
    scores = [runs(np.random.default_rng(5), tasks=3)]
    assert nested_estimate(scores, mean) == nested_estimate(scores, mean)


def test_statistics_are_those_of_the_scores():
    x = np.array([[[1.0], [2.0]], [[3.0], [4.0]], [[5.0], [100.0]]])
    y = np.full((3, 2, 1), 3.0)
    assert nested_estimate([x], interquartile_mean)[0] == np.mean([2.0, 3.0, 4.0, 5.0])
    assert nested_estimate([x, y], probability_of_improvement)[0] == (3 + 0.5) / 6
    assert nested_estimate([x, y], difference(mean))[0] == pytest.approx(115 / 6 - 3)

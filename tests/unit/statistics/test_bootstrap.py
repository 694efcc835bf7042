"""Intervals keep their promise: over agents, over tasks, and over a few meta-training runs."""

import numpy as np
import pytest

from l2o.errors import ResultsError
from l2o.statistics.bootstrap import (
    mean_interval,
    nested_estimate,
    stratified_estimate,
    stratified_interval,
)
from l2o.statistics.metrics import difference, interquartile_mean, mean, probability_of_improvement


@pytest.mark.parametrize(("level", "low", "high"), [(0.95, 0.90, 0.97), (0.5, 0.42, 0.57)])
def test_interval_covers(level, low, high):
    """The percentile interval of a mean covers slightly less than its level at this size."""
    rng = np.random.default_rng(1)
    inside = 0
    for values in rng.normal(2.0, 3.0, size=(600, 20)):
        a, b = mean_interval(values, level, resamples=400)
        inside += a < 2.0 < b
    assert low < inside / 600 < high


def test_interval_is_reproducible_and_as_wide_as_it_should_be():
    values = np.random.default_rng(0).normal(size=100)
    a, b = mean_interval(values)
    assert (a, b) == mean_interval(list(values))
    assert (a, b) != mean_interval(values, seed=1)
    assert a < values.mean() < b
    assert b - a == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.05)
    assert mean_interval([4.0, 4.0, 4.0]) == (4.0, 4.0)
    assert np.isnan(mean_interval([1.0, np.nan, 2.0])).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_interval_from_fewer_than_three(count):
    with pytest.raises(ResultsError, match=f"at least 3 seeds; got {count}"):
        mean_interval([1.0] * count)


def test_intervals_leave_the_global_generator_alone():
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    stratified_interval(np.ones((3, 2)), lambda s: s.mean(axis=0), 20)
    assert np.random.random() == expected  # noqa: NPY002


def test_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(0).normal(size=(40, 2))
    (low,), (high,) = stratified_interval(values, lambda s: np.array([s.mean()]))
    width = 2 * 1.96 * np.sqrt(values.var(axis=0).mean() / 80)
    assert high - low == pytest.approx(width, rel=0.1)
    assert low < values.mean() < high


def test_tasks_are_not_resampled():
    # Seeds agree and tasks differ: nothing is left to resample.
    scores = np.tile([0.0, 1.0, 5.0], (6, 1))
    low, high = stratified_interval(scores, lambda s: s.mean(axis=(0, 1), keepdims=True)[0], 50)
    assert low == high == 2.0


def test_too_few_seeds_are_refused():
    with pytest.raises(ResultsError, match="at least 3 seeds; got 2"):
        stratified_interval(np.zeros((2, 4)), lambda s: s.mean(axis=0))
    with pytest.raises(ResultsError, match="at least 3 seeds; got 1"):
        stratified_interval([np.zeros((5, 4)), np.zeros((1, 4))], lambda x, y: x.mean(axis=0))
    values, low, high = stratified_estimate(np.ones((2, 4)), lambda s: s.mean(axis=0))
    assert (values == 1).all() and np.isnan(low).all() and np.isnan(high).all()


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

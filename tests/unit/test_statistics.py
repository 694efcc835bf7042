import numpy as np
import pandas as pd
import pytest

from l2o.errors import ResultsError
from l2o.evaluation.selection import normalised_scores
from l2o.statistics.bootstrap import mean_interval
from l2o.statistics.returns import (
    best_learning_rates,
    final_returns,
    summarize,
)


def curve(values, task="a", optimizer="adam", rate=0.1, seed=0, every=1):
    updates = every * np.arange(1, len(values) + 1)
    return pd.DataFrame(
        {
            "task": task,
            "optimizer": optimizer,
            "learning_rate": rate,
            "seed": seed,
            "update": updates,
            "return": np.asarray(values, float),
        }
    )


def finals(rows, columns=("optimizer", "learning_rate", "final"), task="a"):
    return pd.DataFrame(rows, columns=list(columns)).assign(task=task)


# Final returns


@pytest.mark.parametrize(
    ("points", "every", "share", "last"),
    [
        (20, 1, 0.1, 2),
        (20, 25, 0.1, 2),
        (10, 7, 0.1, 1),
        (2, 1, 0.1, 1),
        (10, 3, 0.5, 5),
        (10, 3, 1.0, 10),
    ],
)
def test_final_window(points, every, share, last):
    values = np.arange(1.0, points + 1) ** 2
    row = final_returns(curve(values, every=every), share).iloc[0]
    assert row["final"] == pytest.approx(values[-last:].mean())
    assert row["mean"] == pytest.approx(values.mean())


def test_final_window_is_that_of_each_task():
    short, long = curve(range(10), "short"), curve(range(100), "long", every=5)
    other = curve([3.0] * 10, "short", optimizer="sgd", seed=1)
    table = final_returns(pd.concat([short, long, other])).set_index(["task", "optimizer"])
    assert table["final"].to_dict() == {
        ("long", "adam"): np.mean(range(90, 100)),
        ("short", "adam"): 9.0,
        ("short", "sgd"): 3.0,
    }
    shuffled = pd.concat([short, long, other]).sample(frac=1.0, random_state=0)
    again = final_returns(shuffled).set_index(["task", "optimizer"])
    pd.testing.assert_frame_equal(again, table)


def test_nan_at_the_end_is_kept_and_nan_before_is_not():
    diverged, late = np.ones(20), np.ones(20)
    diverged[19], late[:5] = np.nan, np.nan
    table = final_returns(pd.concat([curve(diverged), curve(late, seed=1)])).set_index("seed")
    assert np.isnan(table["final"][0]) and table["final"][1] == 1.0
    assert table["mean"].tolist() == [1.0, 1.0]


def test_no_curves():
    with pytest.raises(ResultsError, match="empty"):
        final_returns(curve([]))


# Intervals


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


def test_summarize():
    rows = [("sgd", 0.1, x) for x in (1.0, 2.0, 3.0, 6.0)] + [("adam", 0.1, x) for x in (5.0, 7.0)]
    table = summarize(finals([*rows, ("sign", 0.1, 4.0)]), ["optimizer"])
    assert list(table.columns) == ["optimizer", "mean", "se", "low", "high", "seeds"]
    assert table["optimizer"].tolist() == ["sgd", "adam", "sign"]  # order of appearance
    assert table["mean"].tolist() == [3.0, 6.0, 4.0] and table["seeds"].tolist() == [4, 2, 1]
    assert table["se"].tolist() == pytest.approx(
        [np.std([1, 2, 3, 6], ddof=1) / 2, 1.0, np.nan], nan_ok=True
    )
    assert (table.loc[0, "low"], table.loc[0, "high"]) == mean_interval([1, 2, 3, 6])
    assert table.loc[1:, ["low", "high"]].isna().all(axis=None)


def test_summarize_by_two_columns_and_another_value():
    table = pd.DataFrame({"task": list("aabb"), "x": list("ppqq"), "mean": [1.0, 3.0, 5.0, 5.0]})
    got = summarize(table, ["task", "x"], value="mean")
    assert got[["task", "x", "mean", "seeds"]].to_numpy().tolist() == [
        ["a", "p", 2.0, 2],
        ["b", "q", 5.0, 2],
    ]


# Learning rates


def test_best_learning_rates():
    rows = [
        *[("adam", 0.1, x) for x in (1.0, 3.0)],
        *[("adam", 0.01, x) for x in (0.0, 5.0)],  # best
        *[("adam", 1.0, x) for x in (100.0, np.nan)],  # diverged
        *[("sgd", rate, 2.0) for rate in (0.3, 0.03, 3.0)],  # a tie
        *[("sign", 0.1, -4.0), ("sign", 0.2, -3.0)],
    ]
    best = best_learning_rates(finals(rows)).set_index("optimizer")
    assert best["learning_rate"].to_dict() == {"adam": 0.01, "sgd": 0.03, "sign": 0.2}
    assert best["final"].to_dict() == {"adam": 2.5, "sgd": 2.0, "sign": -3.0}
    other = finals([("adam", 0.1, 9.0), ("adam", 0.01, 1.0)], task="b")
    both = best_learning_rates(pd.concat([finals(rows), other])).set_index(["task", "optimizer"])
    assert both.loc[("b", "adam"), "learning_rate"] == 0.1
    assert both.loc[("a", "adam"), "learning_rate"] == 0.01


def test_divergence_everywhere_is_an_error():
    rows = [("adam", 0.1, 1.0), ("sgd", 0.1, np.nan), ("sgd", 0.2, np.nan), ("sgd", 0.2, 3.0)]
    with pytest.raises(ResultsError, match="every learning rate diverged for sgd on a"):
        best_learning_rates(finals(rows))


# Scores of checkpoints


def checkpoints(values, task="a"):
    rows = [(f"step_{step:06d}", x) for step, xs in values.items() for x in xs]
    return finals(rows, ("optimizer", "final"), task)


def reference(adam, random):
    rows = [("adam", x) for x in adam] + [("random", x) for x in random]
    return pd.DataFrame(rows, columns=["optimizer", "final"])


def scores(values, adam, random):
    table = normalised_scores(checkpoints(values), reference(adam, random))
    steps = table["optimizer"].str.removeprefix("step_").astype(int)
    return dict(zip(steps, table["score"], strict=True))


def test_scores_are_zero_for_a_random_policy_and_one_for_adam():
    values = {0: [1.0, 1.2, 0.8], 40: [5.0, 5.2, 4.8], 120: [9.0, 9.2, 8.8], 80: [3, 3, 3]}
    table = normalised_scores(checkpoints(values), reference([4.9, 5.0, 5.1], [1.0] * 3))
    assert table["optimizer"].tolist() == [f"step_{step:06d}" for step in (0, 40, 80, 120)]
    assert table["score"].tolist() == pytest.approx([0.0, 1.0, 0.5, 2.0])
    assert table["final"].tolist() == pytest.approx([1, 5, 3, 9])
    assert table["seeds"].tolist() == [3] * 4
    se = 0.2 / np.sqrt(3)
    assert table["se"].tolist() == pytest.approx([se, se, 0, se])


@pytest.mark.parametrize("adam", [[1.0, 1.2, 0.8], [-5.0, -5.2, -4.8]])
def test_unit_is_at_least_the_standard_error(adam):
    """Where Adam is no better than a random policy, scores are in units of noise."""
    found = scores({10: [2.0, 2.0, 2.0]}, adam, [1.0, 1.2, 0.8])
    assert found[10] == pytest.approx(1.0 / np.hypot(0.2, 0.2) * np.sqrt(3))


def test_unit_is_never_zero():
    found = scores({10: [2.0] * 3}, [1.0] * 3, [1.0] * 3)
    assert np.isfinite(found[10]) and found[10] > 0
    # No standard errors from one seed.
    assert scores({0: [1.0], 10: [2.0]}, [3.0], [1.0]) == {0: 0.0, 10: 0.5}


def test_diverged_checkpoint_scores_minus_infinity():
    values = {0: [1.0, 1.0, 1.0], 10: [50.0, np.nan, 50.0], 20: [2.0, 2.0, 2.0]}
    found = scores(values, [3.0] * 3, [1.0] * 3)
    assert found == {0: 0.0, 10: -np.inf, 20: 0.5}


@pytest.mark.parametrize(
    ("adam", "random", "message"),
    [([], [1.0], "'adam' is missing"), ([2.0], [np.nan], "'random' has diverged")],
)
def test_no_scores_without_what_they_are_measured_by(adam, random, message):
    with pytest.raises(ResultsError, match=message):
        scores({0: [1.0]}, adam, random)

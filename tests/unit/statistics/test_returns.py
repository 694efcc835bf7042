import numpy as np
import pandas as pd
import pytest

from l2o.errors import ResultsError
from l2o.statistics.bootstrap import mean_interval
from l2o.statistics.returns import best_learning_rates, final_returns, summarize


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

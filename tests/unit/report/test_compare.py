import numpy as np
import pandas as pd
import pytest
from results_written import SEEDS, make_curves

from l2o.report import compare
from l2o.report.claims import Verdict


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        ([3.0, 3.1, 2.9, 3.2], [1.0, 1.2, 0.8, 1.1], Verdict.BETTER),
        ([1.0, 1.2, 0.8, 1.1], [3.0, 3.1, 2.9, 3.2], Verdict.WORSE),
        ([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], Verdict.SAME),
        ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], Verdict.SAME),
        ([3.0, 3.1], [1.0, 1.2], Verdict.UNKNOWN),
        ([3.0, 3.1, 2.9, np.nan], [1.0, 1.2, 0.8, 1.1], Verdict.UNKNOWN),
    ],
)
def test_verdict_follows_the_interval(mine, theirs, verdict):
    found = compare.compare("catch", "a", "b", pd.Series(mine), pd.Series(theirs))
    assert found.verdict is verdict
    assert found.seeds == len(mine)


def test_comparison_is_paired():
    # Far apart between seeds, by a little always better: only the paired difference shows it.
    theirs = pd.Series([0.0, 10.0, 20.0, 30.0, 40.0])
    mine = theirs + np.array([0.1, 0.2, 0.1, 0.2, 0.1])
    found = compare.compare("catch", "a", "b", mine, theirs)
    assert found.verdict is Verdict.BETTER
    assert found.difference == pytest.approx(0.14)
    unpaired = compare.compare(
        "catch", "a", "b", pd.Series([1.0, 2.0]), pd.Series([1.0], index=[7])
    )
    assert unpaired.seeds == 0 and unpaired.verdict is Verdict.UNKNOWN


def test_lost_seed_withdraws_the_mean():
    curves = make_curves("catch", {"adam": 9.0, "sign": 7.0})
    curves.loc[(curves["optimizer"] == "sign") & (curves["seed"] == 3), "return"] = np.nan
    table = compare.summary_of(compare.finals_of(curves), ["optimizer"]).set_index("optimizer")
    assert table.loc["adam", "mean"] == pytest.approx(9.0)
    assert np.isnan(table.loc["sign", "mean"]) and table.loc["sign", "lost"] == 1
    assert table.loc["sign", "seeds"] == SEEDS


def test_lifetimes_may_differ_between_tasks():
    curves = pd.concat(
        [make_curves("catch", {"a": 1.0}), make_curves("long", {"a": 2.0}, updates=900)]
    )
    finals = compare.finals_of(curves).groupby("task")["final"].mean()
    assert finals.to_dict() == pytest.approx({"catch": 1.0, "long": 2.0})

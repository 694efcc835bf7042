import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from score_curves import OPTIMIZERS, make_curves, noisy

from l2o.errors import ResultsError
from l2o.statistics import aggregates
from l2o.statistics.aggregates import score_tasks


def metric(scores, optimizer="champion", name="iqm", score="final"):
    table = aggregates.aggregates(scores, resamples=100)
    chosen = (table["optimizer"] == optimizer) & (table["metric"] == name)
    (row,) = table[chosen & (table["score"] == score)].itertuples()
    return row


def test_scores_are_in_units_of_adam_above_random():
    scores = score_tasks([make_curves(champion=[4.0, 6.0], adam=[10.0, 6.0], random=[2.0, 2.0])])
    np.testing.assert_allclose(scores.matrix("champion"), [[2 / 6], [4 / 6]])
    np.testing.assert_allclose(scores.matrix("adam").mean(), 1.0)
    np.testing.assert_allclose(scores.matrix("random"), 0.0)
    # Areas: means of 1/4, 2/4, 3/4 and 4/4 of the final returns, 0.625 of them.
    np.testing.assert_allclose(scores.matrix("champion", "area"), [[0.5 / 3], [1.75 / 3]])


def test_a_unit_is_not_smaller_than_its_standard_error():
    curves = make_curves(champion=[6.0, 6.0], adam=[3.0, 7.0], random=[5.0, 5.0])
    scores = score_tasks([curves]).matrix("champion")
    np.testing.assert_allclose(scores, 0.5)  # adam is no better; its standard error is 2


def test_tasks_may_have_other_budgets():
    parts = [noisy("a"), noisy("bb").assign(env_steps=lambda t: 7 * t["env_steps"])]
    table = aggregates.efficiency(score_tasks(parts), resamples=50)
    assert table["share"].unique().tolist() == [0.25, 0.5, 0.75, 1.0]


def test_curves_with_more_points_are_read_between_them():
    finer = noisy("bb")
    finer = finer[finer["update"].isin([2, 4])]
    table = aggregates.efficiency(score_tasks([noisy("a"), finer]), resamples=50)
    assert table["share"].unique().tolist() == [0.5, 1.0]


def test_a_lost_seed_is_a_failure():
    curves = make_curves(champion=[4.0, np.nan, 6.0], adam=[10.0] * 3, random=[2.0] * 3)
    scores = score_tasks([curves])
    np.testing.assert_allclose(scores.matrix("champion")[:, 0], [0.25, 0.0, 0.5])
    assert metric(scores).lost == 1 and metric(scores, "adam").lost == 0
    points = scores.points.query("optimizer == 'champion' and seed == 1")["score"]
    np.testing.assert_allclose(points, [0.0, 0.25, 0.0, 0.0])  # returns 2, 4, then diverged
    row = scores.table.query("optimizer == 'champion' and seed == 1").iloc[0]
    assert row["lost"] and row["final"] == 2.0 and row["area"] == pytest.approx(2.5)


def test_a_lost_seed_that_was_worse_than_random_keeps_its_worst():
    curves = make_curves(champion=[4.0, np.nan], adam=[14.0] * 2, random=[4.0] * 2)
    scores = score_tasks([curves])
    np.testing.assert_allclose(scores.matrix("champion")[:, 0], [0.0, -0.2])  # returned 2 once


def test_a_seed_lost_from_the_start_scores_zero():
    curves = make_curves(champion=[4.0, 4.0], adam=[10.0] * 2, random=[2.0] * 2)
    gone = (curves["optimizer"] == "champion") & (curves["seed"] == 0)
    curves.loc[gone, "return"] = np.nan
    scores = score_tasks([curves])
    np.testing.assert_allclose(scores.matrix("champion"), [[0.0], [0.25]])
    assert scores.matrix("champion", "area")[0, 0] == pytest.approx(0.0)


def test_a_lost_seed_stays_lost():
    curves = make_curves(champion=[4.0, 4.0], adam=[10.0] * 2, random=[2.0] * 2)
    once = (curves["optimizer"] == "champion") & (curves["seed"] == 0) & (curves["update"] == 2)
    curves.loc[once, "return"] = np.nan
    assert score_tasks([curves]).matrix("champion")[0, 0] == pytest.approx(-0.125)  # worst was 1


def test_optimizers_that_lack_a_task_or_a_seed_are_left_out():
    parts = [noisy("a", labels=(*OPTIMIZERS, "sign", "linear")), noisy("bb", labels=OPTIMIZERS)]
    fewer = noisy("bb", seeds=4, labels=("linear",)).query("optimizer == 'linear'")
    scores = score_tasks([parts[0], pd.concat([parts[1], fewer])])
    assert scores.complete == ["adam", "champion", "random"]
    assert [reason.split(":")[0] for reason in scores.left_out] == ["linear", "sign"]
    assert set(aggregates.aggregates(scores, 10)["optimizer"]) == set(scores.complete)


def test_a_task_without_a_measure_is_left_out():
    bare = noisy("bb").query("optimizer != 'random'")
    scores = score_tasks([noisy("a"), bare])
    assert scores.tasks == ["a"]
    assert "bb: baseline 'random' is missing" in scores.left_out[0]
    lost = make_curves("c", champion=[1.0, 2.0], adam=[np.nan] * 2, random=[0.0] * 2)
    with pytest.raises(ResultsError, match=r"no task can be scored: bb: .* c: baseline 'adam'"):
        score_tasks([bare, lost])


def test_two_curves_of_a_seed_are_refused():
    with pytest.raises(ResultsError, match="a: an optimizer has more than one curve"):
        score_tasks([pd.concat([noisy(), noisy()])])


def test_known_aggregates():
    # Adam's unit is 10 on both tasks: the champion scores 0.0, 0.1 ... 0.6 and 2.7.
    random, adam = [0.0] * 4, [10.0] * 4
    parts = [
        make_curves("a", champion=[0.0, 1.0, 2.0, 3.0], adam=adam, random=random),
        make_curves("bb", champion=[4.0, 5.0, 6.0, 27.0], adam=adam, random=random),
    ]
    scores = score_tasks(parts)
    assert metric(scores).estimate == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4)
    assert metric(scores, name="median").estimate == pytest.approx((0.15 + 1.05) / 2)
    expected_gap = 1 - (0.6 + 0.4 + 0.5 + 0.6 + 1.0) / 8  # 2.7 counts as 1
    assert metric(scores, name="optimality_gap").estimate == pytest.approx(expected_gap)
    assert metric(scores, name="mean").estimate == pytest.approx(4.8 / 8)
    assert (metric(scores).seeds, metric(scores).tasks) == (4, 2)


@pytest.mark.parametrize(("mine", "expected"), [(9.0, 1.0), (1.0, 0.0), (5.0, 0.5)])
def test_probability_of_improvement(mine, expected):
    curves = make_curves(champion=[mine] * 3, sign=[5.0] * 3, adam=[8.0] * 3, random=[0.0] * 3)
    table = aggregates.improvement(score_tasks([curves]), resamples=50)
    row = table[(table["optimizer"] == "sign") & (table["score"] == "final")].iloc[0]
    assert row[["probability", "low", "high"]].tolist() == [expected] * 3
    assert set(table["optimizer"]) == {"adam", "random", "sign"}


def test_profile_falls_from_one_to_zero():
    table = aggregates.profiles(score_tasks([noisy("a"), noisy("bb")]), resamples=100)
    mine = table[table["optimizer"] == "champion"]
    assert mine["share"].is_monotonic_decreasing
    assert mine["share"].iloc[0] == 1.0 and mine["share"].iloc[-1] == 0.0
    assert (mine["low"] <= mine["share"]).all() and (mine["share"] <= mine["high"]).all()


def test_efficiency_ends_at_the_final_aggregate():
    scores = score_tasks([noisy("a"), noisy("bb")])
    table = aggregates.efficiency(scores, resamples=50)
    last = table[(table["optimizer"] == "champion") & (table["share"] == 1.0)].iloc[0]
    assert last["iqm"] == pytest.approx(metric(scores).estimate)


def test_equal_data_give_equal_intervals():
    scores = score_tasks([noisy("a"), noisy("bb")])
    first = aggregates.aggregates(scores, resamples=200)
    np.random.random(10)  # noqa: NPY002
    pd.testing.assert_frame_equal(first, aggregates.aggregates(scores, resamples=200))
    assert (first["low"] < first["high"])[first["optimizer"] == "champion"].all()


def test_module_is_light():
    code = "import sys, l2o.statistics.aggregates; print({'jax', 'rliable'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "set()"

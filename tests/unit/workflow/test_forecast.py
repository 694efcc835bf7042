"""What a scale will take: from what runs took to what others will."""

import math

import pytest
from places import ROOT

from l2o.config import files
from l2o.errors import ResultsError
from l2o.files import write_json
from l2o.pipeline.contract import job
from l2o.pipeline.work import Work
from l2o.stages import meta_train, transfer
from l2o.workflow.child import SLOW
from l2o.workflow.forecast import COLUMNS, _costs, _whole_pipeline, as_text, forecast, totals
from l2o.workflow.trials import rehearsal, smaller

QUICK = files.build(files.read_yaml(ROOT / "config/config.yaml"), ROOT / "config")


@pytest.mark.parametrize("costs", [(2.0, 1e-3, 5e-5), (0.0, 1e-6, 0.0), (30.0, 0.0, 1e-4)])
def test_costs_are_found_again(costs):
    once, learning, playing = costs
    done = [Work(1, 100, 800), Work(3, 300, 2400), Work(48, 4800, 2400)]
    spent = [once + learning * work.learned + playing * work.played for work in done]
    assert _costs(done, spent) == pytest.approx(costs, abs=1e-9)


def test_no_cost_is_negative():
    """Noise may say that more work takes less time."""
    done = [Work(1, 100), Work(3, 300), Work(48, 4800)]
    assert min(_costs(done, [2.0, 1.9, 1.8])) >= 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_long_run_is_all_steps(times):
    assert _costs(times * [Work(1, 100, 300)], times * [40.0]) == (0.0, 0.1, 0.1)


def test_two_kinds_of_runs_tell_what_is_paid_once():
    done = [Work(1, 100, 300), Work(4, 400, 300), Work(4, 400, 300)]
    assert _costs(done, [14.0, 17.0, 17.0]) == pytest.approx((10.0, 0.01, 0.01))


def found(one, runs=(), **more):
    base = {"stage": one.stage, "parts": one.named, "place": "gpu", "compile_s": 60.0}
    base |= {"bytes": 2**30, "problem": None, "advice": [], "divisor": 1, "runs": list(runs)}
    return base | more


def runs_of(work, once, learning, playing):
    """Return what a job would have said that has these costs."""
    for updates, seeds in ((1, 1), (1, 3), (16, 3)):
        done = work(rehearsal(rehearsal(QUICK), updates, seeds))
        spent = once + learning * done.learned + playing * done.played
        yield {"import_s": 3.0, "compile_s": 1.0, "total_s": 4.0 + spent, "work": done}


@pytest.fixture
def folder(tmp_path):
    """A rehearsal of everything, in which most is quick."""
    quick = {"import_s": 1.0, "compile_s": 0.0, "total_s": 2.0, "work": (1, 1000, 0)}
    for one in _whole_pipeline(rehearsal(QUICK)):
        write_json(tmp_path / "found" / f"{name(one)}.json", found(one, [quick], compile_s=0.0))
    return tmp_path


def name(one):
    return "_".join([one.stage, *one.named.values()])


def test_kinds_and_how_often_they_run(folder, tmp_path):
    table = forecast(QUICK, folder, tmp_path / "results").set_index("job")
    assert list(table.reset_index().columns) == list(COLUMNS)
    assert table.loc["meta-train linear", "runs"] == 3
    assert table.loc["meta-train optim4rl_m", "runs"] == 1
    assert table.loc["transfer reacher", "runs"] == 1
    assert {"report", "select", "tune", "ablate inductive_bias", "level linear toy"} <= set(
        table.index
    )
    assert table["runs"].sum() == len(_whole_pipeline(QUICK))


def test_time_is_predicted(folder, tmp_path):
    one = job("meta_train", recipe="linear", seed=0)
    runs = runs_of(lambda config: meta_train.work(config, "linear"), 2.0, 1e-4, 0.0)
    write_json(folder / "found" / f"{name(one)}.json", found(one, runs))
    test = job("transfer", task="reacher")
    runs = runs_of(lambda config: transfer.work(config, "reacher"), 5.0, 1e-5, 1e-6)
    write_json(folder / "found" / f"{name(test)}.json", found(test, runs))
    results = tmp_path / "results"
    for seed, seconds in ((0, 16.0), (1, 18.0)):
        path = results / f"meta_train/linear/seed_{seed}/run.json"
        write_json(path, {"timings": {"total_s": seconds}})
    table = forecast(QUICK, folder, results).set_index("job")
    row = table.loc["meta-train linear"]
    work = meta_train.work(QUICK, "linear")
    assert row["predicted_s"] == pytest.approx(4 + 2 + 1e-4 * work.learned)
    assert row["step_s"] == pytest.approx(1e-4 * 32 * 8 * 4)
    assert row["hours"] == pytest.approx((3 * row["predicted_s"] + 60) / 3600)
    assert row["measured_s"] == 17.0 and row["memory_gib"] == 1.0
    row, work = table.loc["transfer reacher"], transfer.work(QUICK, "reacher")
    expected = 4 + 5 + 1e-5 * work.learned + 1e-6 * work.played
    assert row["predicted_s"] == pytest.approx(expected) and math.isnan(row["measured_s"])


def test_what_does_not_fit_says_what_to_set(folder, tmp_path):
    one = job("meta_train", recipe="linear", seed=0)
    advice = ["try recipes.linear.agents 16 instead of 32"]
    problem = "outer loop needs 300 GiB of memory, 20 are free"
    work = meta_train.work(smaller(QUICK, 8), "linear")
    run = {"import_s": 1.0, "compile_s": 0.0, "total_s": 21.0, "work": work}
    saying = {"problem": problem, "advice": advice, "bytes": 300 * 2**30, "divisor": 8}
    write_json(folder / "found" / f"{name(one)}.json", found(one, [run], **saying))
    table = forecast(QUICK, folder, tmp_path)
    row = table.set_index("job").loc["meta-train linear"]
    assert row["note"].startswith(f"{problem}: {advice[0]}; ") and row["memory_gib"] == 300
    assert row["predicted_s"] == pytest.approx(1 + 8 * 20)
    assert problem in as_text(table)
    lines = totals(table).splitlines()
    assert len(lines) == 1 and lines[0].startswith("gpu: ")
    assert lines[0].endswith("of which 3 do not fit this place")
    slow = saying | {"problem": f"{SLOW} 46 s", "advice": []}
    write_json(folder / "found" / f"{name(one)}.json", found(one, [run], **slow))
    table = forecast(QUICK, folder, tmp_path)
    assert "took more than 46 s; " in as_text(table) and "do not fit" not in totals(table)


def test_what_was_not_rehearsed_is_missed(folder, tmp_path):
    (folder / "found" / "tune.json").unlink()
    with pytest.raises(ResultsError, match=r"tune.json: no such file"):
        forecast(QUICK, folder, tmp_path)

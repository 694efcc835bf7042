"""Levels of an ablation: scores over tasks, and effects on the full method."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from staging import run_stage

from l2o.config import files as config
from l2o.config.models import Config
from l2o.errors import L2OError, ResultsError
from l2o.files import write_table
from l2o.statistics.columns.comparisons import EFFECT_COLUMNS
from l2o.statistics.columns.evaluation import CURVE_COLUMNS
from l2o.statistics.effects import ELSEWHERE

NAME = "inductive_bias"
RECIPES = ("optim4rl_b", "linear", "l2lgd2")
TASKS = ("small_dense_short", "catch")
SEEDS = 6
RUNS = (0, 1, 2)
# Final returns by recipe; the random policy gets 0 and Adam 10 on every task.
FINALS = {"optim4rl_b": 8.0, "linear": 12.0, "l2lgd2": 8.0}


def settings(**ablation: object) -> Config:
    base = config.read_yaml("config/config.yaml") | {"scale": "smoke", "meta_seeds": list(RUNS)}
    base["pretrained"] |= {"open": {"weights": "open.safetensors"}}
    return config.build(config.merge(base, {"ablations": {NAME: ablation}}))


def curves(task: str, finals: dict[str, float], spread: float, early: bool = True) -> pd.DataFrame:
    """Curves of ten points that rise to ``finals``; at the first one no episode has ended."""
    rows = []
    for optimizer, final in finals.items():
        for seed, offset in enumerate(np.linspace(-spread, spread, SEEDS)):
            for point in range(1, 11):
                unknown = early and point == 1
                value = np.nan if unknown else final * point / 10 + offset
                rows.append((task, optimizer, 0.01, seed, point, 100 * point, value, not unknown))
    table = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
    return table.astype({"episodes": float})


def write_level(root: Path, recipe: str, where: str, parts: dict[int, pd.DataFrame]) -> Path:
    """Write a level's curves, given by meta-training run."""
    path = root / "levels" / recipe / where / "curves.parquet"
    write_table(path, pd.concat([part.assign(meta_seed=run) for run, part in parts.items()]))
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Levels and baselines, as those stages leave them."""
    for recipe in RECIPES:
        finals = {r: {"trained": FINALS[recipe] + r / 2, "untrained": 1.0} for r in RUNS}
        toy = {r: pd.concat([curves(task, finals[r], 0.5) for task in TASKS]) for r in RUNS}
        write_level(tmp_path, recipe, "toy", toy)
        ppo = {r: curves("reacher", finals[r], 0.5, early=False) for r in RUNS}
        write_level(tmp_path, recipe, "reacher", ppo)
    for task in (*TASKS, "reacher"):
        unit = curves(task, {"adam": 10.0, "random": 0.0, "sign": 3.0}, 0.1)
        write_table(tmp_path / "baselines" / task / "curves.parquet", unit)
    return tmp_path


def run(results: Path, **ablation: object) -> pd.DataFrame:
    out = results / "out"
    places = {"levels": results / "levels", "baselines": results / "baselines", "out": out}
    run_stage("ablate", settings(**ablation), ablation=NAME, **places)
    return pd.read_parquet(out / "effects.parquet")


def test_effects_are_those_of_the_scores(results: Path) -> None:
    effects = run(results, tasks=["reacher"])
    assert list(effects.columns) == list(EFFECT_COLUMNS)
    assert effects["role"].tolist() == ["training"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert effects["recipe"].tolist() == [*RECIPES] * 3
    assert (effects["meta_seeds"] == 3).all() and (effects["agents"] == SEEDS).all()
    # The last point: final returns of 8, 8.5 and 9 by meta-training run.
    np.testing.assert_allclose(effects["iqm"], [0.85, 1.25, 0.85] * 3, atol=0.01)
    assert (effects["iqm_low"] <= effects["iqm"]).all() and (
        effects["iqm"] <= effects["iqm_high"]
    ).all()
    full, better, same = (effects[effects["recipe"] == recipe] for recipe in RECIPES)
    np.testing.assert_array_equal(full[["difference", "low", "high"]], 0.0)
    np.testing.assert_array_equal(full["probability"], 0.5)
    np.testing.assert_allclose(better["difference"], 0.4, atol=1e-6)
    assert (better["low"] > 0.2).all() and (better["high"] < 0.6).all()
    assert (better["probability"] == 1).all() and (better["probability_high"] == 1).all()
    np.testing.assert_allclose(same["difference"], 0, atol=1e-9)
    assert (same["low"] < 0).all() and (same["high"] > 0).all()
    np.testing.assert_allclose(same["probability"], 0.5, atol=1e-9)


def test_summaries_tell_what_a_task_is_for(results: Path) -> None:
    run(results, tasks=["reacher"])
    summary = pd.read_parquet(results / "out" / "summary.parquet")
    roles = summary.groupby("task")["role"].first().to_dict()
    assert roles == {"small_dense_short": "training", "catch": "validation", "reacher": "test"}
    assert len(summary) == 3 * 3 * 2 * 3 and set(summary["checkpoint"]) == {"trained", "untrained"}
    assert (summary["low"] < summary["mean"]).all()


def test_an_agent_that_diverges_counts_as_a_failure(results: Path) -> None:
    path = results / "levels" / "linear" / "toy" / "curves.parquet"
    table = pd.read_parquet(path)
    # All of a run's agents on both tasks: more than the quarter that the mean cuts off.
    lost = (table["meta_seed"] == 0) & (table["update"] > 5)
    table.loc[lost & (table["optimizer"] == "trained"), "return"] = np.nan
    write_table(path, table)
    effects = run(results)
    linear = effects[(effects["recipe"] == "linear") & (effects["role"] == "training")].iloc[0]
    assert linear["difference"] < 0.4 - 0.02
    assert linear["probability"] < 1
    assert linear["iqm_low"] < linear["iqm"] - 0.02


def test_supervised_tasks_are_scored_apart(results: Path) -> None:
    for recipe in RECIPES:
        part = curves("digits", {"trained": 0.9, "untrained": 0.1}, 0.01, early=False)
        write_level(results, recipe, "digits", dict.fromkeys(RUNS, part))
    unit = curves("digits", {"adam": 0.95, "random": 0.1}, 0.01)
    write_table(results / "baselines" / "digits" / "curves.parquet", unit)
    effects = run(results, tasks=["digits"])
    assert effects["role"].unique().tolist() == ["training", "validation", "supervised"]


def test_agents_of_a_pretrained_optimizer_are_its_runs(results: Path) -> None:
    part = pd.concat([curves(task, {"trained": 6.0, "untrained": 0.0}, 0.5) for task in TASKS])
    write_level(results, "open", "toy", {ELSEWHERE: part})
    effects = run(results, recipes={"open": "OPEN"}).set_index(["role", "recipe"])
    open_ = effects.loc[("training", "open")]
    assert open_["meta_seeds"] == SEEDS and open_["agents"] == 1
    assert open_["difference"] == pytest.approx(-0.25, abs=0.01) and open_["high"] < 0


@pytest.mark.parametrize("missing", ["levels/linear/toy", "baselines/catch"])
def test_what_is_missing_is_named(results: Path, missing: str) -> None:
    (results / missing / "curves.parquet").unlink()
    with pytest.raises(ResultsError, match=missing):
        run(results)
    assert not (results / "out" / "run.json").exists()


def test_an_unknown_ablation_is_refused(results: Path) -> None:
    with pytest.raises(L2OError, match="unknown ablation 'inductive_bas'"):
        run_stage("ablate", settings(), ablation="inductive_bas", out=results / "out")


def test_few_runs_get_no_interval(results: Path) -> None:
    for path in (results / "levels").rglob("curves.parquet"):
        table = pd.read_parquet(path)
        write_table(path, table[table["meta_seed"] < 2])
    effects = run(results)
    others = effects[effects["recipe"] != RECIPES[0]]
    assert effects["iqm"].notna().all() and effects["iqm_low"].isna().all()
    assert others[["low", "probability_low"]].isna().all().all()


def test_test_tasks_must_not_be_trained_on() -> None:
    with pytest.raises(L2OError, match="overlap: cartpole"):
        settings(tasks=["cartpole"])


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"a": ["linear"], "b": ["optim4rl_b"]}, "every combination must be there"),
        ({"a": ["nobody"]}, "factors: not in recipes: nobody"),
    ],
)
def test_other_designs_are_refused(factors: dict, message: str) -> None:
    with pytest.raises(L2OError, match=message):
        settings(factors=factors)

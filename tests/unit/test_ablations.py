"""Levels of an ablation: scores over tasks, and effects on the full method."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from l2o import config
from l2o.errors import L2OError, ResultsError
from l2o.evaluation.ablate import EFFECT_COLUMNS, ablate
from l2o.evaluation.statistics import CURVE_COLUMNS
from l2o.files import write_table
from l2o.settings import Config

NAME = "inductive_bias"
RECIPES = ("optim4rl_b", "linear", "l2lgd2")
TASKS = ("small_dense_short", "catch")
SEEDS = 6
# Final returns by recipe; the random policy gets 0 and Adam 10 on every task.
FINALS = {"optim4rl_b": 8.0, "linear": 12.0, "l2lgd2": 8.0}


def settings(**ablation: object) -> Config:
    base = config.read_yaml("config/config.yaml") | {"scale": "smoke", "meta_seeds": [0, 1]}
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


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Levels and baselines, as those stages leave them."""
    for recipe in RECIPES:
        for seed in (0, 1):
            finals = {"trained": FINALS[recipe] + seed, "untrained": 1.0}
            folder = tmp_path / "levels" / recipe / f"seed_{seed}"
            parts = [curves(task, finals, 0.5) for task in TASKS]
            write_table(folder / "toy" / "curves.parquet", pd.concat(parts))
            part = curves("reacher", finals, 0.5, early=False)
            write_table(folder / "reacher" / "curves.parquet", part)
    for task in (*TASKS, "reacher"):
        unit = curves(task, {"adam": 10.0, "random": 0.0, "sign": 3.0}, 0.1)
        write_table(tmp_path / "baselines" / task / "curves.parquet", unit)
    return tmp_path


def run(results: Path, **ablation: object) -> pd.DataFrame:
    out = results / "out"
    ablate(settings(**ablation), NAME, results / "levels", results / "baselines", out)
    return pd.read_parquet(out / "effects.parquet")


def test_effects_are_those_of_the_scores(results: Path) -> None:
    effects = run(results, tasks=["reacher"])
    assert list(effects.columns) == list(EFFECT_COLUMNS)
    assert effects["where"].tolist() == ["toy"] * 3 + ["test"] * 3
    assert effects["recipe"].tolist() == [*RECIPES] * 2
    assert (effects["runs"] == 2 * SEEDS).all() and effects["tasks"].tolist() == [2] * 3 + [1] * 3
    # The last point: the final return of 8, and of 9 with the other meta-training seed.
    np.testing.assert_allclose(effects["iqm"], [0.85, 1.25, 0.85] * 2, atol=0.01)
    assert (effects["iqm_low"] <= effects["iqm"]).all() and (
        effects["iqm"] <= effects["iqm_high"]
    ).all()
    full, better, same = (effects[effects["recipe"] == recipe] for recipe in RECIPES)
    np.testing.assert_array_equal(full[["difference", "low", "high"]], 0.0)
    np.testing.assert_array_equal(full["probability"], 0.5)
    np.testing.assert_allclose(better["difference"], 0.4, atol=1e-6)
    assert (better["low"] > 0.25).all() and (better["high"] < 0.55).all()
    assert (better["probability"] == 1).all()
    np.testing.assert_allclose(same["difference"], 0, atol=1e-9)
    assert (same["low"] < 0).all() and (same["high"] > 0).all()
    np.testing.assert_allclose(same["probability"], 0.5, atol=1e-9)


def test_summaries_tell_what_a_task_is_for(results: Path) -> None:
    run(results, tasks=["reacher"])
    summary = pd.read_parquet(results / "out" / "summary.parquet")
    roles = summary.groupby("task")["role"].first().to_dict()
    assert roles == {"small_dense_short": "training", "catch": "validation", "reacher": "test"}
    assert len(summary) == 3 * 2 * 2 * 3 and set(summary["stage"]) == {"trained", "untrained"}
    assert (summary["low"] < summary["mean"]).all()


def test_an_agent_that_diverges_counts_as_a_failure(results: Path) -> None:
    path = results / "levels" / "linear" / "seed_0" / "toy" / "curves.parquet"
    table = pd.read_parquet(path)
    # Two thirds of a seed's agents on both tasks: more than the quarter that the mean cuts off.
    lost = (table["seed"] < 4) & (table["update"] > 5)
    table.loc[lost & (table["optimizer"] == "trained"), "return"] = np.nan
    write_table(path, table)
    effects = run(results).set_index("recipe")
    assert effects.loc["linear", "difference"] < 0.4 - 0.02
    assert effects.loc["linear", "probability"] < 1
    assert effects.loc["linear", "iqm_low"] < effects.loc["linear", "iqm"] - 0.02


def test_supervised_tasks_are_scored_apart(results: Path) -> None:
    for recipe in RECIPES:
        for seed in (0, 1):
            folder = results / "levels" / recipe / f"seed_{seed}" / "digits"
            part = curves("digits", {"trained": 0.9, "untrained": 0.1}, 0.01, early=False)
            write_table(folder / "curves.parquet", part)
    unit = curves("digits", {"adam": 0.95, "random": 0.1}, 0.01)
    write_table(results / "baselines" / "digits" / "curves.parquet", unit)
    effects = run(results, tasks=["digits"])
    assert effects["where"].tolist() == ["toy"] * 3 + ["supervised"] * 3


@pytest.mark.parametrize("missing", ["levels/linear/seed_1/toy", "baselines/catch"])
def test_what_is_missing_is_named(results: Path, missing: str) -> None:
    (results / missing / "curves.parquet").unlink()
    with pytest.raises(ResultsError, match=missing):
        run(results)
    assert not (results / "out" / "run.json").exists()


def test_an_unknown_ablation_is_refused(results: Path) -> None:
    with pytest.raises(L2OError, match="unknown ablation 'inductive_bas'"):
        ablate(settings(), "inductive_bas", results, results, results / "out")


def test_few_runs_get_no_interval(results: Path) -> None:
    for path in (results / "levels").rglob("curves.parquet"):
        table = pd.read_parquet(path)
        write_table(path, table[table["seed"] < 1])
    effects = run(results)
    assert effects["iqm"].notna().all() and effects[["iqm_low", "low"]].iloc[1:].isna().all().all()


def test_test_tasks_must_not_be_trained_on() -> None:
    with pytest.raises(L2OError, match="overlap: cartpole"):
        settings(tasks=["cartpole"])

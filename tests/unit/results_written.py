"""Results of a whole run with known numbers."""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from l2o.config import files as config
from l2o.config.models import Config
from l2o.files import write_json, write_table
from l2o.report.load import load
from l2o.report.page import build_report
from l2o.report.results import Results
from l2o.statistics import aggregates
from l2o.statistics.columns.comparisons import EFFECT_COLUMNS, FACTOR_COLUMNS

SEEDS = 8
POINTS = 20
RATES = {
    "champion": 0.003,
    "untrained": 0.003,
    "adam": 0.01,
    "adam_decay": 0.01,
    "rmsprop": 0.003,
    "sign": 0.03,
}
GRID = (0.003, 0.01, 0.03)
# Final returns by construction, the same for every task: the champion is better than its untrained
# initialisation and sign descent, worse than Adam (decayed or not), and RMSProp differs by noise.
FINALS = {
    "champion": 8.0,
    "untrained": 5.0,
    "adam": 9.0,
    "adam_decay": 9.5,
    "rmsprop": 8.0,
    "sign": 7.0,
}


def load_results(folder: Path) -> Results:
    """Read the results of a run."""
    return load(config.load(folder / "config.json"), folder)


def report_on(folder: Path, page: Path) -> None:
    """Write the report of a run."""
    build_report(config.load(folder / "config.json"), folder, page)


def make_curves(task: str, finals: dict, seeds: int = SEEDS, updates: int = 100, **extra):
    """Curves whose last points are ``finals`` up to a zero-mean offset, the same for each label."""
    rows = []
    for label, final in finals.items():
        offsets = np.linspace(-0.5, 0.5, seeds)
        if label == "rmsprop":
            offsets = offsets[::-1]
        for seed, offset in enumerate(offsets):
            for point in range(1, POINTS + 1):
                share = 1 - 0.7 ** (point if point < POINTS - 1 else 99)
                rows.append(
                    {
                        "task": task,
                        "optimizer": label,
                        "learning_rate": RATES.get(label, 0.003),
                        "seed": seed,
                        "update": point * updates // POINTS,
                        "env_steps": point * updates // POINTS * 1280,
                        "return": share * (final + offset),
                        "episodes": 10.0,
                    }
                    | extra
                )
    return pd.DataFrame(rows)


def make_tuning(task: str, labels) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (task, label, rate, FINALS[label] - i, 2)
            for label in labels
            for i, rate in enumerate(GRID)
        ],
        columns=["task", "optimizer", "learning_rate", "mean", "seeds"],
    )


def write_record(folder: Path, stage: str, import_s: float = 2.0, **tags) -> None:
    record = {
        "stage": stage,
        "status": "finished",
        "started": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:05:17+00:00",
        "config": {},
        "seed": 0,
        "tags": tags,
        "results": {},
        "timings": {"import_s": import_s, "compile_s": 10.0, "run_s": 60.0, "total_s": 72.0},
        "peak_memory_bytes": 3 * 2**29,
        "device": {"kind": "cpu", "platform": "cpu", "count": 1, "peak_memory_bytes": None},
        "host_cores": 2,
        "git_commit": "0123456789abcdef0123",
        "git_dirty": False,
        "versions": {"jax": "0.11.1"},
        "python": "3.11.9",
    }
    write_json(folder / "run.json", record)


def write_evaluation(folder: Path, stage: str, task: str, finals: dict, tuned_on: str) -> None:
    write_table(folder / "curves.parquet", make_curves(task, finals))
    write_table(folder / "tuning.parquet", make_tuning(tuned_on, finals))
    write_json(folder / "tuned.json", {label: RATES[label] for label in finals})
    write_record(folder, stage, task=task)


def write_transfer(folder: Path, task: str, **tags) -> None:
    curves = make_curves(task, FINALS)
    write_table(folder / "curves.parquet", curves)
    own = curves[curves["optimizer"] == "champion"]
    own = own.assign(learning_rate=0.02, tuning="none")
    best = curves.assign(learning_rate=0.01, tuning="oracle")
    write_table(folder / "controls.parquet", pd.concat([own, best]))
    write_table(folder / "oracle.parquet", make_tuning(task, FINALS))
    costs = {"task": task, "optimizer": list(FINALS), "seconds": 31.0, "share": 0.123}
    write_table(folder / "costs.parquet", pd.DataFrame(costs | {"peak_bytes": 2.0**21}))
    write_record(folder, "transfer", task=task, **tags)


def write_selection(folder: Path, settings: Config) -> None:
    tasks, validation = settings.toy_evaluation_tasks, settings.select.tasks
    steps = range(0, 201, 20)
    scores = [
        (task, seed, step, 5 + step / 50, 0.21, 4, (step / 180 if step < 160 else 0.6) - seed / 10)
        for task in validation
        for seed in settings.selection_seeds
        for step in steps
    ]
    columns = ["task", "meta_seed", "step", "final", "se", "seeds", "score"]
    write_table(folder / "scores.parquet", pd.DataFrame(scores, columns=columns))
    learned = {name: FINALS[name] for name in ("champion", "untrained")}
    write_table(folder / "comparison.parquet", pd.concat([make_curves(t, learned) for t in tasks]))
    champion = {"recipe": "optim4rl_b", "seed": 0, "outer_step": 140, "score": 0.777}
    write_json(folder / "champion.json", champion | {"learning_rate": 0.003, "sha256": "0"})
    write_record(folder, "select", recipe="optim4rl_b")


def write_ablation(folder: Path, settings: Config, name: str) -> None:
    frames, rows = [], []
    training = settings.recipes[settings.select.recipe].tasks[0].task
    recipes = settings.ablations[name].recipes
    for (place, (recipe, level)), (checkpoint, gain), run in itertools.product(
        enumerate(recipes.items()), (("trained", 2.5), ("untrained", 0.0)), settings.meta_seeds
    ):
        identity = {"level": level, "recipe": recipe, "meta_seed": run, "checkpoint": checkpoint}
        for task in settings.toy_evaluation_tasks:
            final = 5.0 + gain - place
            frames.append(make_curves(task, {f"{recipe}/{run}/{checkpoint}": final}, **identity))
            role = "training" if task == training else "validation"
            numbers = {"mean": final, "se": 0.1, "low": final - 0.2, "high": final + 0.2}
            rows.append(identity | {"task": task, "role": role, "seeds": SEEDS} | numbers)
    write_table(folder / "summary.parquet", pd.DataFrame(rows))
    write_table(folder / "curves.parquet", pd.concat(frames))
    write_table(folder / "effects.parquet", make_effects(recipes))
    factor = ("training", "structure x pipeline", 0.25, 0.125, 0.375, 4, 3)
    table = pd.DataFrame([factor] if name == "inductive_bias" else [], columns=[*FACTOR_COLUMNS])
    write_table(folder / "factors.parquet", table)
    write_record(folder, "ablation", recipe=name)


def make_effects(recipes: dict[str, str]) -> pd.DataFrame:
    """Every level is worse than the one before by a score of 0.5."""
    rows = []
    for place, (recipe, level) in enumerate(recipes.items()):
        numbers = {"iqm": 1.0, "difference": 0.0, "probability": 0.5}
        if place:
            numbers = {"iqm": 1 - place / 2, "difference": -place / 2, "probability": 0.125}
        ends = {"iqm_low": 0.1, "iqm_high": 1.5, "low": -1.75, "high": -0.25}
        ends |= {"probability_low": 0.0, "probability_high": 0.25}
        sizes = {"meta_seeds": 3, "agents": 8, "tasks": 1}
        rows.append({"role": "training", "recipe": recipe, "level": level} | numbers | ends | sizes)
    return pd.DataFrame(rows)[list(EFFECT_COLUMNS)]


def write_meta_training(folder: Path, recipe: str, task: str) -> None:
    steps = np.arange(5, 201, 5)
    noise = np.random.default_rng(len(recipe)).normal(size=len(steps))
    table = {
        "step": steps,
        f"{task}/return": 3 - 2 * np.exp(-steps / 60) + 0.1 * noise,
        f"{task}/meta_loss": 0.1,
        "meta_gradient_norm": np.exp(0.4 * noise - 2),
        "meta_update_norm": 0.01,
        "skipped_steps": 0.0,
    }
    write_table(folder / "metrics.parquet", pd.DataFrame(table))
    write_record(folder, "meta_train", recipe=recipe)


def write_summary(folder: Path, tasks: list[str], seeds: int = SEEDS) -> None:
    """Aggregate transfer curves, with a random policy that returns nothing."""
    curves = [make_curves(task, FINALS | {"random": 0.0}, seeds) for task in tasks]
    for part in curves:
        part.loc[part["optimizer"] == "random", "return"] = 0.0
        gone = (part["optimizer"] == "sign") & (part["seed"] == 0) & (part["update"] > 50)
        part.loc[gone, "return"] = np.nan
    scores = aggregates.score_tasks(curves)
    tables = {
        "scores": scores.table,
        "aggregates": aggregates.aggregates(scores, 20),
        "profiles": aggregates.profiles(scores, 20),
        "improvement": aggregates.improvement(scores, resamples=20),
        "efficiency": aggregates.efficiency(scores, 20),
    }
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)
    write_record(folder, "transfer_summary")


def write_results(root: Path, scale: str = "quick") -> Path:
    """Write the files of a whole run with known numbers."""
    settings = config.build(config.read_yaml("config/config.yaml") | {"scale": scale})
    root = root / scale
    config.write(settings, root / "config.json")
    tasks = settings.toy_evaluation_tasks
    classical = {name: FINALS[name] for name in settings.baselines.optimizers}
    for task in tasks:
        write_evaluation(root / "baselines" / task, "baselines", task, classical, task)
    for recipe in settings.usual_recipes:
        for seed in settings.training_seeds(recipe):
            write_meta_training(root / "meta_train" / recipe / f"seed_{seed}", recipe, tasks[0])
    write_selection(root / "select", settings)
    for task in settings.transfer.tasks:
        write_transfer(root / "transfer" / task, task)
    for task in settings.transfer.variant_tasks:
        for variant in settings.transfer.variants:
            folder = root / "transfer_variants" / task / variant
            write_transfer(folder, task, variant=variant)
    grids = [make_tuning(task, FINALS) for task in settings.transfer.tuning_tasks]
    write_table(root / "tune" / "tuning.parquet", pd.concat(grids))
    write_json(root / "tune" / "tuned.json", RATES)
    write_record(root / "tune", "tune")
    write_summary(root / "transfer_summary", settings.transfer.tasks)
    for name in settings.usual_ablations:
        write_ablation(root / "ablations" / name, settings, name)
    return root


def text_of(page: str) -> str:
    """Return what a reader sees, on one line."""
    page = re.sub(r"<(svg|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())

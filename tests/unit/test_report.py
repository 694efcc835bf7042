import dataclasses
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from l2o import config
from l2o.config.models import Config
from l2o.errors import ResultsError
from l2o.files import write_json, write_table
from l2o.report import compare, load
from l2o.report.claims import Claim, Measured, Verdict, claim_frame, judge
from l2o.report.drawing.curves import band
from l2o.report.drawing.panel import spread
from l2o.report.page import build_report
from l2o.report.results import Gradients
from l2o.report.sections import SECTIONS, ablations, gradients
from l2o.report.text import MINUS, TIMES, count, duration, interval, number
from l2o.statistics import aggregates
from l2o.statistics.columns.comparisons import CLAIM_COLUMNS, EFFECT_COLUMNS, FACTOR_COLUMNS
from l2o.statistics.columns.gradients import PHASES, RANGE_COLUMNS, SIGNAL_COLUMNS

SEEDS = 8
POINTS = 20
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
RATES = {
    "champion": 0.003,
    "untrained": 0.003,
    "adam": 0.01,
    "adam_decay": 0.01,
    "rmsprop": 0.003,
    "sign": 0.03,
}
GRID = (0.003, 0.01, 0.03)


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


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Results that no test changes; making them takes longer than copying."""
    return write_results(tmp_path_factory.mktemp("written"))


@pytest.fixture(scope="module")
def results(written, tmp_path_factory) -> Path:
    return Path(shutil.copytree(written, tmp_path_factory.mktemp("results") / "quick"))


@pytest.fixture
def root(written, tmp_path) -> Path:
    """Results of a test's own."""
    return Path(shutil.copytree(written, tmp_path / "quick"))


@pytest.fixture(scope="module")
def page(results) -> str:
    build_report(results, results / "report.html")
    return (results / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(
        "l2o.report.page.save_drawings",
        lambda results, sections, folder: {name: {} for name in sections},
    )


def text_of(page: str) -> str:
    """Return what a reader sees, on one line."""
    page = re.sub(r"<(svg|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


class References(HTMLParser):
    """Collects elements, identifiers, and everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.identifiers.append(value)
            if name in {"src", "href", "xlink:href", "data", "srcset"} and value[:1] != "#":
                (self.links if tag == "a" else self.fetched).append(value)


def test_page_needs_nothing_else(page):
    references = References()
    references.feed(page)
    assert references.fetched == [] and references.links == []
    assert not references.tags & {"script", "link", "iframe", "object", "img"}
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?#)", page)
    assert len(references.identifiers) == len(set(references.identifiers))


def test_figures_are_inlined_and_written(page, results):
    written = [path.relative_to(results / "figures") for path in results.rglob("figures/*/*.svg")]
    drawn = {section: {p.stem for p in written if p.parts[0] == section} for section in SECTIONS}
    assert "toy_catch" in drawn["learning_curves"]
    assert "meta_gradient_norm" in drawn["meta_training"]
    assert drawn["selection"] == {"selection"}
    assert {"transfer_inverted_double_pendulum", "summary_profile"} <= drawn["transfer"]
    assert "ablation_inductive_bias_returns_small_dense_short" in drawn["ablations"]
    assert drawn["gradients"] == set() and (results / "figures/gradients").is_dir()
    assert sum(map(len, drawn.values())) == len(written) == page.count("<svg")
    assert all((results / "figures" / path).with_suffix(".png").is_file() for path in written)


def test_figures_of_an_earlier_report_are_removed(tmp_path):
    config.write(config.build(config.read_yaml("config/config.yaml")), tmp_path / "config.json")
    for name in ("old.svg", "selection/selection.png", "selection/.snakemake_timestamp"):
        path = tmp_path / "figures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    build_report(tmp_path, tmp_path / "report.html")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == set(SECTIONS)
    left = [path.name for path in (tmp_path / "figures").rglob("*") if path.is_file()]
    assert left == [".snakemake_timestamp"]


def test_jobs_are_linked_to_their_mlflow_runs(root, without_figures):
    started = json.loads((root / "select/run.json").read_text())["started"]
    address = 'https://host/"><b>&/#/experiments/1/runs/2'
    for name, url, at in (
        ("select", address, started),
        ("tune", address, "2025-01-01T00:00:00+00:00"),  # of an earlier execution
        ("transfer_summary", "javascript:alert()", started),
    ):
        note = {"run_id": "2", "run_key": f"quick/{name}@{at}", "url": url}
        write_json(root / name / ".mlflow.json", note)
    (root / "baselines/catch/.mlflow.json").write_text('{"run_id": ')
    build_report(root, root / "report.html")
    page = (root / "report.html").read_text()
    references = References()
    references.feed(page)
    assert references.links == [address] * 2  # of the section, and of the table of costs
    assert references.fetched == [] and '"><b>&' not in page
    assert page.count(">select</a>") == 2 and "In MLflow: select" in text_of(page)
    assert 'make run ARGS="--forcerun track --config scale=quick"' in text_of(page)


def test_claims_follow_from_the_numbers(page):
    text = text_of(page)
    assert (
        "supported Meta-training improved the optimizer. The champion is better than its untrained "
        "initialisation: mean final return 8.00 against 5.00, difference +3.00, 95% interval "
        "[+3.00, +3.00] over 8 paired seeds." in text
    )
    assert "do not overlap." in text
    assert "not supported The meta-trained optimizer beats tuned Adam." in text
    assert "The champion is worse than Adam: mean final return 8.00 against 9.00" in text
    assert "inconclusive The meta-trained optimizer beats tuned RMSProp." in text
    assert "The champion is not distinguishable from RMSProp" in text
    assert "The champion is better than sign descent" in text


def test_tables_hold_the_numbers(page):
    text = text_of(page)
    assert "140 ★" in text and "score 0.78" in text
    assert "champion 0.003 8.00 0.12 [7.77, 8.23] 8 6" in text  # transfer: 3 rates x 2 seeds
    assert f"Adam 9.00 8.00 7.00 3 {TIMES} 2 seeds = 6 0.01" in text
    assert "0.03 (edge of the grid)" in text
    assert "1 min 12 s" in text and "1.50 GiB" in text
    assert "0123456789ab" in text and "finished 2026-01-02" in text
    assert 'make run ARGS="--config scale=quick"' in text and "make ui" in text
    assert "too small to say anything" not in text


def test_test_tasks_are_aggregated(page):
    text = text_of(page)
    # Random returns 0 and Adam 9: scores are ninths of the returns.
    assert "champion 0.89 [0.87, 0.90] 0.89 [0.88, 0.90]" in text
    assert "sign descent 0.78 [0.70, 0.79] 0.69 [" in text
    assert f"3 {TIMES} 8 (3 lost)" in text
    never = "0.00 [0.00, 0.00]"
    assert f"decayed Adam {never} {never}" in text  # better with every seed
    assert "RMSProp 0.50 [0.33," in text
    assert "Intervals are 95% percentile intervals" in text
    sign = np.array([0.0, *(7.0 + np.linspace(-0.5, 0.5, SEEDS)[1:])]) / 9
    error = sign.std(ddof=1) / np.sqrt(SEEDS)
    assert f"sign descent {sign.mean():.2f} {error:.2f} 0.73 " in text  # on the task alone
    # The raw table: mean over the curve beside the final return.
    share = np.mean([1 - 0.7 ** (p if p < POINTS - 1 else 99) for p in range(1, POINTS + 1)])
    assert f"[7.77, 8.23] 8 6 {8 * share:.2f} ± 0." in text


def test_too_few_seeds_are_said_to_be_too_few(root, without_figures):
    write_summary(root / "transfer_summary", ["inverted_double_pendulum"], seeds=2)
    build_report(root, root / "report.html")
    text = text_of((root / "report.html").read_text())
    assert "There are fewer than 3 seeds, so no interval is drawn or written." in text
    assert f"champion 0.89 0.89 0.11 0.89 1 {TIMES} 2" in text


def test_every_claim_has_a_verdict_by_rule(results, page):
    table = pd.read_parquet(results / "claims.parquet")
    assert list(table.columns) == list(CLAIM_COLUMNS)
    claims = table.set_index("claim")["verdict"]
    start = "The champion trains better than"
    task = load.load(results).training_tasks[0]
    assert claims[f"{start} untrained initialisation on {task}."] == "supported"
    assert claims[f"{start} Adam on {task}."] == "not supported"
    assert claims[f"{start} RMSProp on {task}."] == "inconclusive"
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    for row in table.itertuples():
        value = Measured(row.value, row.low, row.high)
        against = Measured(row.against, row.against_low, row.against_high)
        assert row.verdict == judge(value, against).status


@pytest.mark.parametrize(
    ("value", "against", "expected"),
    [
        ((3, 2, 4), (1, 1, 1), "supported"),
        ((3, 2, 4), (5, 4.5, 6), "not supported"),
        ((3, 2, 4), (4, 3.5, 6), "inconclusive"),
        ((3, 2, 4), (2, 1, 2), "inconclusive"),
        ((3, np.nan, np.nan), (1, 1, 1), "inconclusive"),
        ((3, 2, 4), (1, np.nan, np.nan), "inconclusive"),
    ],
)
def test_verdicts_follow_from_intervals(value, against, expected):
    claim = Claim("a", "b", Measured(*value), Measured(*against), 3)
    assert claim.verdict.status == expected


def test_claims_about_gradients(results):
    """The first source is of RL; the last one, digits, is not."""
    run = load.load(results)
    sources = list(run.config.analysis.sources)
    assert sources[-1] == "digits" and len(sources) == 3
    ranges = [
        (source, phase, "all", *[0.0] * 5, decades, decades - 0.5, decades + 0.5, 0.1, 5)
        for source, decades in zip(sources, (9.0, 5.0, 7.0), strict=True)
        for phase in PHASES
    ]
    signal = [
        (source, "beginning", measure, value, value - 0.1, value + 0.1, 64, 5)
        for source, scale in zip(sources, (80.0, 40.0, 40.0), strict=True)
        for measure, value in (("noise_scale", scale), ("bias_cosine", 0.7))
    ]
    made = {
        "range": pd.DataFrame(ranges, columns=list(RANGE_COLUMNS)),
        "signal": pd.DataFrame(signal, columns=list(SIGNAL_COLUMNS)),
    }
    run = dataclasses.replace(run, gradients=Gradients(made, pd.DataFrame(), None))
    (group,) = gradients.SECTION.claims(run)
    table = claim_frame(group.claims)
    verdicts = table["verdict"].tolist()
    wider, noisier, biased = ["supported", "not supported"], ["supported", "inconclusive"], 3
    assert verdicts == wider + noisier + ["supported"] * biased
    np.testing.assert_allclose(table["value"].iloc[-1], 0.3)
    np.testing.assert_allclose(table[["low", "high"]].iloc[-1].to_list(), [0.2, 0.4])


def test_ablations_are_answered(results):
    groups = {group.title: group for group in ablations.SECTION.claims(load.load(results))}
    group = groups["Ablation: inductive bias"]
    points = {point.statement: point for point in group.points}
    first = points["Optim4RL (form B) against L2LGD2:"]
    assert first.status == "better"
    assert re.search(r"better on small_dense_short \(\+2\.00 \[\+1\.[0-9]+,", first.evidence)
    assert len(group.points) == 3
    assert "over 9 pairs of level and task: 9 better." in group.note


def test_ablations_are_tables(page):
    text = text_of(page)
    row = f"LinearOptim 0.50 [0.10, 1.50] {MINUS}0.50 [{MINUS}1.75, {MINUS}0.25] 0.12 [0.00, 0.25]"
    assert f"{row} 3 {TIMES} 8 1 min 12 s" in text
    assert f"structure {TIMES} pipeline +0.25 [+0.12, +0.38]" in text


def test_ablations_make_claims(results):
    groups = ablations.SECTION.claims(load.load(results))
    table = claim_frame(c for group in groups for c in group.claims).set_index("claim")
    row = table.loc["Optim4RL (form B) is better than LinearOptim (inductive bias)."]
    assert row["verdict"] == "supported" and row["seeds"] == 3
    assert (row["value"], row["low"], row["high"]) == (0.5, 0.25, 1.75)
    row = table.loc[
        "Structure and pipeline raise scores more together than alone (inductive bias)."
    ]
    assert row["verdict"] == "supported" and row["value"] == 0.25
    claim = "Meta-training improves LinearOptim over its untrained initialisation, on catch."
    assert table.loc[claim, "verdict"] == "supported"


def test_smoke_says_that_it_says_nothing(tmp_path, without_figures):
    root = write_results(tmp_path, "smoke")
    build_report(root, root / "report.html")
    assert "too small to say anything" in text_of((root / "report.html").read_text())


def test_parts_that_were_not_run_are_left_out(tmp_path, without_figures):
    root = tmp_path / "quick"
    settings = config.build(config.read_yaml("config/config.yaml"))
    config.write(settings, root / "config.json")
    build_report(root, root / "report.html")
    text = text_of((root / "report.html").read_text())
    assert "Left out, because it was not run: baselines/small_dense_short, " in text
    assert "Left out: no ablation was run." in text
    assert "Nothing yet: no comparison was run." in text


@pytest.mark.parametrize(
    "name",
    [
        "baselines/catch/curves.parquet",
        "meta_train/linear/seed_0/metrics.parquet",
        "select/scores.parquet",
        "ablations/inductive_bias/summary.parquet",
        "transfer_summary/profiles.parquet",
    ],
)
def test_damaged_table_is_named(root, name):
    (root / name).write_bytes((root / name).read_bytes()[:-100])
    with pytest.raises(ResultsError, match=re.escape(str(root / name))):
        build_report(root, root / "report.html")
    assert not (root / "report.html").exists()


@pytest.mark.parametrize(
    "name",
    ["select/champion.json", "select/run.json", "transfer/inverted_double_pendulum/curves.parquet"],
)
def test_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(ResultsError, match=re.escape(str(root / name))):
        build_report(root, root / "report.html")


def test_incomplete_record_is_named(root):
    path = root / "select" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: record[key] for key in record if key != "timings"}))
    with pytest.raises(ResultsError, match="timings"):
        load.load(root)


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


def test_band_needs_three_seeds():
    assert band(make_curves("catch", {"a": 1.0}, seeds=2))["low"].isna().all()
    whole = band(make_curves("catch", {"a": 1.0}, seeds=3))
    assert (whole["low"] <= whole["mean"]).all() and (whole["mean"] <= whole["high"]).all()


def test_labels_are_moved_apart():
    placed = spread([0.5, 0.5, 1.0, 0.99], gap=0.1)
    assert placed == pytest.approx([0.45, 0.55, 1.0, 0.9])
    assert spread([0.2, 0.8], gap=0.1) == pytest.approx([0.2, 0.8])
    assert spread([], gap=0.1) == []


def test_numbers_are_written_for_people():
    numbers = [number(x) for x in (0.0, 1.234, 123.46, 6517.3, 0.0263, 0.00123)]
    assert numbers == ["0.00", "1.23", "123.5", "6,517", "0.026", "0.0012"]
    assert number(float("nan")) == "–"  # noqa: RUF001
    assert number(-1.5) == "−1.50" and number(1.5, signed=True) == "+1.50"  # noqa: RUF001
    assert interval(-1.0, 2.0) == "[−1.00,\N{NO-BREAK SPACE}2.00]"  # noqa: RUF001
    assert interval(-0.028, 0.0) == "[−0.028,\N{NO-BREAK SPACE}0.000]"  # noqa: RUF001
    assert (count(1, "seed"), count(1000, "seed")) == ("1 seed", "1,000 seeds")
    assert (duration(3.21), duration(245), duration(7800)) == ("3.2 s", "4 min 05 s", "2 h 10 min")

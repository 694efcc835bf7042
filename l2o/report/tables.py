"""The tables of the report."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from l2o.evaluation.aggregates import SCORES
from l2o.report import compare
from l2o.report.compare import Comparison
from l2o.report.load import Results, Selection, Transfer, TransferSummary
from l2o.report.text import NOTHING, TIMES, count, interval, number, optimizer_name, rate


@dataclasses.dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: Texts.
        marked: Whether it stands out.
        verdict: Style class of the second cell, if that holds a verdict.
    """

    cells: Sequence[str]
    marked: bool = False
    verdict: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes:
        head: Titles of the columns.
        groups: Rows, under the title of their group; an empty title is not written.
        words: How many leading columns hold words; the others hold numbers, set to the right.
    """

    head: Sequence[str]
    groups: Mapping[str, Sequence[Row]]
    words: int = 1


_STATISTICS = ("mean", "s.e.", "95% interval", "seeds")
_COMPARISON = ("verdict", "difference", "95% interval", "paired seeds")


def final_returns(results: Results) -> Table:
    """Return final returns on the toy tasks."""
    groups = {}
    for task in results.config.toy_evaluation_tasks:
        curves = results.toy_curves(task)
        if not curves.empty:
            groups[f"{task} ({results.role(task)})"] = [
                _return_row(row) for row in _summaries(curves)
            ]
    return Table(("optimizer", "learning rate", *_STATISTICS), groups)


def transfer(evaluation: Transfer, trials: int) -> Table:
    """Return final returns on one test task: tuned, untuned, and tuned on the task itself.

    Args:
        evaluation: The results.
        trials: Lifetimes that each optimizer spent on its learning rate.
    """
    groups = {"": _rows_with_area(evaluation.curves, str(trials))}
    titles = {
        "none": ("learned optimizers at the rate of their meta-training", "0"),
        "oracle": ("oracle: tuned on this very task", str(trials)),
    }
    for tuning, (title, spent) in titles.items():
        curves = evaluation.controls[evaluation.controls["tuning"] == tuning]
        if not curves.empty:
            groups[title] = _rows_with_area(curves, spent)
    head = ("optimizer", "learning rate", *_STATISTICS, "tuning trials", "area ± s.e.")
    return Table(head, groups)


def _rows_with_area(curves: pd.DataFrame, trials: str) -> list[Row]:
    """Return a row per optimizer, the area under its curve, per point, in the last column."""
    areas = compare.finals_of(curves).groupby("optimizer")["mean"]
    rows = []
    for row in _summaries(curves):
        label = row["optimizer"]
        lost = row["lost"] > 0
        area = NOTHING if lost else _with_error(areas.mean()[label], areas.sem()[label])
        rows.append(_return_row(row, trials, area))
    return rows


def optimizer_costs(evaluations: Mapping[str, Transfer]) -> Table:
    """Return time and memory per optimizer and task."""
    groups = {
        task: [
            Row(
                (
                    optimizer_name(row["optimizer"]),
                    number(row["seconds"]),
                    f"{100 * row['share']:.1f}%" if math.isfinite(row["share"]) else NOTHING,
                    number(row["peak_bytes"] / 2**20),
                ),
                marked=row["optimizer"] == "champion",
            )
            for _, row in compare.in_order(evaluation.costs).iterrows()
        ]
        for task, evaluation in evaluations.items()
    }
    head = ("optimizer", "s per million steps", "optimizer's share", "MiB per agent")
    return Table(head, groups)


def tuning_budget(table: pd.DataFrame) -> int:
    """Return how many lifetimes each optimizer of a grid spent on its learning rate."""
    return int(table.groupby("optimizer")["seeds"].sum().max())


def task_scores(summary: TransferSummary) -> Table:
    """Return scores on every test task, in which a lost agent counts as a failure."""
    groups = {}
    for task, part in summary.scores.groupby("task", sort=False):
        rows = []
        for label, agents in compare.in_order(part).groupby("optimizer", sort=False):
            cells = [
                number(value, decimals=2)
                for name in SCORES
                for column in [agents[f"{name}_score"]]
                for value in (column.mean(), column.sem())
            ]
            seeds = _seeds(len(agents), agents["lost"].sum())
            rows.append(Row((optimizer_name(label), *cells, seeds), marked=label == "champion"))
        groups[str(task)] = rows
    return Table(("optimizer", "score", "s.e.", "score of the area", "s.e.", "seeds"), groups)


def aggregated_scores(summary: TransferSummary) -> Table:
    """Return aggregates over all test tasks, of the final scores and of those of the area."""
    columns = [("final", name) for name in ("iqm", "median", "optimality_gap")] + [("area", "iqm")]
    table = compare.in_order(summary.aggregates)
    rows = []
    for label, part in table.groupby("optimizer", sort=False):
        found = part.set_index(["score", "metric"])
        one = part.iloc[0]
        seeds = f"{one['tasks']} {TIMES} {_seeds(one['seeds'], one['lost'])}"
        cells = (_with_interval(found.loc[column]) for column in columns)
        rows.append(Row((optimizer_name(label), *cells, seeds), marked=label == "champion"))
    head = ("optimizer", "IQM", "median", "optimality gap", "IQM of the area")
    return Table((*head, f"tasks {TIMES} seeds"), {"": rows})


def improvement(summary: TransferSummary) -> Table:
    """Return the probabilities that the champion is better than each other optimizer."""
    table = compare.in_order(summary.improvement).rename(columns={"probability": "estimate"})
    rows = []
    for label, part in table.groupby("optimizer", sort=False):
        found = part.set_index("score")
        rows.append(
            Row((optimizer_name(label), *(_with_interval(found.loc[name]) for name in SCORES)))
        )
    return Table(("champion against", "by final return", "by area under the curve"), {"": rows})


def _with_interval(row: pd.Series) -> str:
    ends = interval(row["low"], row["high"], decimals=2)
    return number(row["estimate"], decimals=2) + ("" if ends == NOTHING else f" {ends}")


def _with_error(value: float, error: float) -> str:
    text = number(error)
    return number(value) + ("" if text == NOTHING else f" ± {text}")


def _summaries(curves: pd.DataFrame) -> list[pd.Series]:
    finals = compare.finals_of(curves)
    table = compare.summary_of(finals, ["optimizer", "learning_rate"])
    return [row for _, row in table.iterrows()]


def _return_row(row: pd.Series, *more: str) -> Row:
    cells = (optimizer_name(row["optimizer"]), rate(row["learning_rate"]), *_statistics(row), *more)
    return Row(cells, marked=row["optimizer"] == "champion")


def _statistics(row: pd.Series) -> tuple[str, ...]:
    seeds = _seeds(row["seeds"], row.get("lost", 0))
    return number(row["mean"]), number(row["se"]), interval(row["low"], row["high"]), seeds


def _seeds(seeds: int, lost: int) -> str:
    return f"{seeds}" + (f" ({lost} lost)" if lost else "")


def champion_comparisons(evaluations: Mapping[str, pd.DataFrame]) -> Table:
    """Compare the champion with everything else.

    Args:
        evaluations: Learning curves of one task each, by title.
    """
    groups = {}
    for title, curves in evaluations.items():
        found = compare.compare_optimizers(compare.finals_of(curves), "champion")
        groups[title] = [_comparison_row(optimizer_name(c.reference), c) for c in found]
    return Table(("champion against", *_COMPARISON), groups, words=2)


def variant_comparisons(found: Iterable[Comparison], names: Mapping[str, str]) -> Table:
    """Return comparisons of the variants of an ablation, one group per pair.

    Args:
        found: The comparisons.
        names: What each recipe is called.
    """
    groups: dict[str, list[Row]] = {}
    for comparison in found:
        reference = names.get(comparison.reference, "its untrained initialisation")
        title = f"{names[comparison.subject]} against {reference}"
        groups.setdefault(title, []).append(_comparison_row(comparison.task, comparison))
    return Table(("task", *_COMPARISON), groups, words=2)


def _comparison_row(name: str, comparison: Comparison) -> Row:
    cells = (
        name,
        comparison.verdict.value,
        number(comparison.difference, signed=True),
        interval(comparison.low, comparison.high, signed=True),
        _seeds(comparison.seeds, comparison.lost),
    )
    return Row(cells, verdict=comparison.verdict.slug)


def selection(chosen: Selection) -> Table:
    """Return checkpoints x validation tasks, a group per series; the winner is marked."""
    scores, champion = chosen.scores, chosen.champion
    tasks = list(scores["task"].unique())
    cells = {(row["meta_seed"], row["step"], row["task"]): row for _, row in scores.iterrows()}
    means = scores.groupby(["meta_seed", "step"])["score"].mean()
    several = scores["meta_seed"].nunique() > 1
    groups: dict[str, list[Row]] = {}
    for (seed, step), mean in means.items():
        wins = (seed, step) == (champion["seed"], champion["outer_step"])
        name = f"{step:,}" + (" (untrained)" if step == 0 else "")
        row = [name + (" \N{BLACK STAR}" if wins else "")]
        for task in tasks:
            row += _score_cells(cells.get((seed, step, task)))
        title = f"meta-training seed {seed}" if several else ""
        groups.setdefault(title, []).append(Row((*row, number(mean)), marked=wins))
    head = [title for task in tasks for title in (f"{task}: final return ± s.e.", "score")]
    return Table(("outer step", *head, "mean score"), groups)


def _score_cells(row: pd.Series | None) -> list[str]:
    if row is None:
        return [NOTHING, NOTHING]
    return [_with_error(row["final"], row["se"]), number(row["score"])]


def meta_training(results: Results) -> Table:
    """Return one row per meta-training run."""
    seconds = {
        (job.record["tags"].get("recipe"), job.record.get("seed")): job.record["timings"]["run_s"]
        for job in results.jobs
        if job.record["stage"] == "meta_train" and job.finished
    }
    rows = []
    for (recipe, seed), table in results.meta_training.items():
        returns = table[f"{results.config.recipes[recipe].tasks[0].task}/return"]
        steps, run_s = int(table["step"].iloc[-1]), float(seconds.get((recipe, seed), 0))
        shown = (number(value) for value in (returns.iloc[0], returns.iloc[-1], returns.max()))
        skipped = f"{table['skipped_steps'].iloc[-1]:g}"
        speed = number(steps / run_s) if run_s else NOTHING
        rows.append(Row((recipe, f"{seed}", f"{steps:,}", *shown, skipped, speed)))
    head = ("recipe", "seed", "outer steps", "first return", "last return", "best return")
    return Table((*head, "skipped steps", "outer steps per second"), {"": rows})


def ablation(summary: pd.DataFrame, names: Mapping[str, str]) -> Table:
    """Return final returns of every variant of an ablation, trained and untrained."""
    several = summary["meta_seed"].nunique() > 1
    places = {recipe: place for place, recipe in enumerate(names)}
    table = summary.sort_values(
        ["recipe", "meta_seed", "stage"],
        key=lambda column: column.map(places) if column.name == "recipe" else column,
    )
    groups = {}
    for task in summary["task"].unique():
        part = table[table["task"] == task]
        role = part["role"].iloc[0].replace("training", "meta-training")
        groups[f"{task} ({role})"] = [
            Row(
                (
                    names.get(row["recipe"], row["variant"])
                    + (f", seed {row['meta_seed']}" if several else ""),
                    row["stage"],
                    *_statistics(row),
                )
            )
            for _, row in part.iterrows()
        ]
    return Table(("variant", "stage", *_STATISTICS), groups, words=2)


def tuning(grid: pd.DataFrame, rates: Mapping[str, float]) -> Table:
    """Return a grid of learning rates: mean final returns, the chosen ones in the last column.

    Args:
        grid: Of one task.
        rates: The chosen rates by label.
    """
    grid = compare.in_order(grid)
    tried = sorted(grid["learning_rate"].unique())
    rows = []
    for label, part in grid.groupby("optimizer", sort=False):
        means = part.set_index("learning_rate")["mean"]
        cells = (number(means.get(value)) for value in tried)
        picked = _chosen(rates.get(label), list(means.index))
        rows.append(Row((optimizer_name(label), *cells, _trials(part), picked)))
    return Table(("optimizer", *map(rate, tried), "trials", "chosen"), {"": rows})


def chosen_rates(curves: pd.DataFrame) -> dict[str, float]:
    """Return the learning rate of every optimizer, as its curves say."""
    return curves.groupby("optimizer")["learning_rate"].first().to_dict()


def _trials(part: pd.DataFrame) -> str:
    seeds = count(int(part["seeds"].max()), "seed")
    return f"{len(part)} {TIMES} {seeds} = {int(part['seeds'].sum())}"


def _chosen(value: float | None, grid: list[float]) -> str:
    """Write the chosen rate, and whether the grid may be too narrow around it."""
    if value is None:
        return NOTHING
    if len(grid) == 1:
        return f"{rate(value)} (the only one)"
    at_edge = value <= min(grid) or value >= max(grid)
    return rate(value) + (" (edge of the grid)" if at_edge else "")

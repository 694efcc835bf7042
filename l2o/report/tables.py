"""The tables of the report."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from l2o.report import compare
from l2o.report.compare import Comparison
from l2o.report.results import Results, Selection
from l2o.report.text import (
    NOTHING,
    TIMES,
    count,
    duration,
    interval,
    number,
    optimizer_name,
    rate,
)


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


_TASKS = {"training": "meta-training task", "supervised": "supervised learning"}
STATISTICS = ("mean", "s.e.", "95% interval", "seeds")
_COMPARISON = ("verdict", "difference", "95% interval")


def final_returns(results: Results) -> Table:
    """Return final returns on the toy tasks."""
    groups = {}
    for task in results.config.toy_evaluation_tasks:
        curves = results.toy_curves(task)
        if not curves.empty:
            groups[f"{task} ({results.role(task)})"] = [
                return_row(row) for row in summaries(curves)
            ]
    return Table(("optimizer", "learning rate", *STATISTICS), groups)


def summaries(curves: pd.DataFrame) -> list[pd.Series]:
    """Return final returns per optimizer and learning rate."""
    finals = compare.finals_of(curves)
    table = compare.summary_of(finals, ["optimizer", "learning_rate"])
    return [row for _, row in table.iterrows()]


def return_row(row: pd.Series, *more: str) -> Row:
    """Write a row of :func:`summaries`, with more cells at its end."""
    cells = (optimizer_name(row["optimizer"]), rate(row["learning_rate"]), *_statistics(row), *more)
    return Row(cells, marked=row["optimizer"] == "champion")


def _statistics(row: pd.Series) -> tuple[str, ...]:
    seeds = seeds_text(row["seeds"], row.get("lost", 0))
    return number(row["mean"]), number(row["se"]), interval(row["low"], row["high"]), seeds


def seeds_text(seeds: int, lost: int) -> str:
    """Write how many seeds there are, and how many of them have no final return."""
    return f"{seeds}" + (f" ({lost} lost)" if lost else "")


def with_error(value: float, error: float) -> str:
    """Write a mean and its standard error, if that is known."""
    text = number(error)
    return number(value) + ("" if text == NOTHING else f" ± {text}")


def champion_comparisons(evaluations: Mapping[str, pd.DataFrame]) -> Table:
    """Compare the champion with everything else.

    Args:
        evaluations: Learning curves of one task each, by title.
    """
    groups = {}
    for title, curves in evaluations.items():
        found = compare.compare_optimizers(compare.finals_of(curves), "champion")
        groups[title] = [_comparison_row(optimizer_name(c.reference), c) for c in found]
    return Table(("champion against", *_COMPARISON, "paired seeds"), groups, words=2)


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
    return Table(("task", *_COMPARISON, "meta-training runs"), groups, words=2)


def _comparison_row(name: str, comparison: Comparison) -> Row:
    cells = (
        name,
        comparison.verdict.value,
        number(comparison.difference, signed=True),
        interval(comparison.low, comparison.high, signed=True),
        seeds_text(comparison.seeds, comparison.lost),
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
    return [with_error(row["final"], row["se"]), number(row["score"])]


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
    return Table(("variant", "stage", *STATISTICS), groups, words=2)


def effects(table: pd.DataFrame, seconds: Mapping[str, float]) -> Table:
    """Return the scores of an ablation's levels, beside the full method's, and what they cost.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.EFFECT_COLUMNS`.
        seconds: Of one meta-training, by recipe.
    """
    groups = {
        _TASKS.get(str(where), f"{where} tasks"): [
            Row(
                (
                    row.variant,
                    number(row.iqm),
                    interval(row.iqm_low, row.iqm_high),
                    *_against_full(row, full=place == 0),
                    f"{row.meta_seeds} {TIMES} {row.agents}",
                    duration(seconds[row.recipe]) if row.recipe in seconds else NOTHING,
                ),
                marked=place == 0,
            )
            for place, row in enumerate(part.itertuples())
        ]
        for where, part in table.groupby("where", sort=False)
    }
    head = ("variant", "IQM of scores", "95% interval", "difference", "95% interval")
    more = ("P(better)", "95% interval", f"runs {TIMES} agents", "meta-training")
    return Table((*head, *more), groups)


def factors(table: pd.DataFrame) -> Table:
    """Return main effects and interactions.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.FACTOR_COLUMNS`.
    """
    groups = {
        _TASKS.get(str(where), f"{where} tasks"): [
            Row(
                (
                    row.term.replace(" x ", f" {TIMES} "),
                    number(row.effect, signed=True),
                    interval(row.low, row.high, signed=True),
                )
            )
            for row in part.itertuples()
        ]
        for where, part in table.groupby("where", sort=False)
    }
    return Table(("term", "effect on the IQM", "95% interval"), groups)


def _against_full(row: Any, full: bool) -> tuple[str, ...]:
    if full:
        return ("the full method", NOTHING, NOTHING, NOTHING)
    return (
        number(row.difference, signed=True),
        interval(row.low, row.high, signed=True),
        number(row.probability),
        interval(row.probability_low, row.probability_high),
    )


def claims(table: pd.DataFrame) -> Table:
    """Return every claim with its verdict.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.CLAIM_COLUMNS`.
    """
    slugs = {"supported": "better", "not supported": "worse"}
    groups: dict[str, list[Row]] = {}
    for row in table.itertuples():
        cells = (
            row.claim,
            row.verdict,
            f"{number(row.value)} {interval(row.low, row.high)}",
            number(row.against)
            + (f" {interval(row.against_low, row.against_high)}" if row.against else ""),
            str(row.seeds),
        )
        slug = slugs.get(row.verdict, "not-distinguishable")
        groups.setdefault(row.measurement, []).append(Row(cells, verdict=slug))
    return Table(("claim", "verdict", "value", "against", "seeds"), groups, words=2)


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

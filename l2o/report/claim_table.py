"""Every claim of the paper as a row of a table; verdicts follow from intervals alone."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from l2o.environments import digits
from l2o.report import compare
from l2o.report.gradient_tables import accuracies
from l2o.report.results import Results
from l2o.report.text import optimizer_name
from l2o.statistics.columns.comparisons import CLAIM_COLUMNS
from l2o.statistics.columns.gradients import PHASES

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"


class Measured(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


def verdict(value: Measured, against: Measured) -> str:
    """Return the verdict on the claim that ``value`` exceeds ``against``."""
    if value.low > against.high:
        return SUPPORTED
    return NOT_SUPPORTED if value.high < against.low else INCONCLUSIVE


def claim_table(results: Results) -> pd.DataFrame:
    """Return all claims that the results can speak about; see ``CLAIM_COLUMNS``."""
    rows = [
        *_range(results),
        *_change(results),
        *_noise(results),
        *_identity(results),
        *_drift(results),
        *_champion(results),
        *_ablations(results),
    ]
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS))


def _row(
    claim: str, measurement: str, value: Measured, against: Measured, seeds: int
) -> tuple[object, ...]:
    return (claim, measurement, *value, *against, int(seeds), verdict(value, against))


def _exactly(number: float) -> Measured:
    return Measured(number, number, number)


def _of(row: pd.Series, value: str) -> Measured:
    return Measured(float(row[value]), float(row["low"]), float(row["high"]))


def _sources(results: Results) -> tuple[list[str], list[str]]:
    """Return the recorded sources of RL, and of supervised learning."""
    sources = results.config.analysis.sources
    is_rl = {name: source.task != digits.NAME for name, source in sources.items()}
    return [n for n, rl in is_rl.items() if rl], [n for n, rl in is_rl.items() if not rl]


def _than_supervised(
    results: Results, table: pd.DataFrame, claim: str, measurement: str, value: str
) -> Iterator[tuple]:
    """Claim that a column is larger for every source of RL than for every supervised one.

    Args:
        results: What ran.
        table: A row for each source.
        claim: With two places, for the names of the sources.
        measurement: What was measured.
        value: Column of the measurement.
    """
    rows = table.set_index("source")
    rl, supervised = ([s for s in names if s in rows.index] for names in _sources(results))
    for one, other in itertools.product(rl, supervised):
        row, reference = rows.loc[one], rows.loc[other]
        measured = _of(row, value), _of(reference, value)
        yield _row(claim.format(one, other), measurement, *measured, row["agents"])


def _range(results: Results) -> Iterator[tuple]:
    table = results.gradients.tables.get("range")
    if table is None:
        return
    part = table[(table["tensor"] == "all") & (table["phase"] == PHASES[-1])]
    claim = "Gradients of {} span a wider range than those of {}."
    measured = "decades between the 0.1% and 99.9% quantiles of |g|, end of training"
    yield from _than_supervised(results, part, claim, measured, "decades")


def _change(results: Results) -> Iterator[tuple]:
    table = results.gradients.tables.get("distances")
    if table is None:
        return
    over_time = f"{PHASES[0]} and {PHASES[-1]}"
    part = table[table["compared"] == over_time]
    agents = table[table["compared"] == f"two agents, {PHASES[-1]}"].set_index("source")
    measured = "Wasserstein distance of log10 |g|, beginning and end"
    for _, row in part[part["source"].isin(_sources(results)[0])].iterrows():
        yield _row(
            f"Gradients of {row['source']} are not identically distributed over a lifetime.",
            f"{measured}, against two agents at the end",
            _of(row, "distance"),
            _of(agents.loc[row["source"]], "distance"),
            row["agents"],
        )
    claim = "Gradients of {} change more over a lifetime than those of {}."
    yield from _than_supervised(results, part, claim, measured, "distance")


def _noise(results: Results) -> Iterator[tuple]:
    table = results.gradients.tables.get("signal")
    if table is None:
        return
    for moment in PHASES:
        here = table[table["moment"] == moment]
        scale = here[here["measure"] == "noise_scale"]
        claim = f"Gradients of {{}} are noisier than those of {{}}, {moment}."
        measured = "gradient noise scale, examples"
        yield from _than_supervised(results, scale, claim, measured, "estimate")
        for _, row in here[here["measure"] == "bias_cosine"].iterrows():
            cosine = _of(row, "estimate")
            yield _row(
                f"Gradients of {row['source']} are biased, {moment}.",
                "1 - cosine between the actor's gradient and that of Monte Carlo returns",
                Measured(1 - cosine.value, 1 - cosine.high, 1 - cosine.low),
                _exactly(0.0),
                row["agents"],
            )


def _identity(results: Results) -> Iterator[tuple]:
    if results.gradients.identity is None:
        return
    for source, part in accuracies(results.gradients.identity).groupby("source", sort=False):
        rows = part.set_index("processing")
        for name in rows.index.drop("none"):
            yield _row(
                f"Processing ({name}) helps a network to reproduce gradients of {source}.",
                "share of outputs within 10% of the gradient, against no processing",
                _of(rows.loc[name], "mean"),
                _of(rows.loc["none"], "mean"),
                rows.loc[name, "seeds"],
            )


def _drift(results: Results) -> Iterator[tuple]:
    table = results.gradients.tables.get("drift")
    if table is None:
        return
    late = table[table["outer_step"] >= table["outer_step"].max() / 2]
    means = late.groupby("scheme", sort=False)[["distance", "low", "high", "populations"]].mean()
    for scheme in means.index.drop("staggered"):
        row = means.loc[scheme]
        yield _row(
            f"Pipeline training shows an optimizer what all ages give, resets {scheme} do not.",
            "distance from all ages alike, decades, second half; against staggered resets",
            _of(row, "distance"),
            _of(means.loc["staggered"], "distance"),
            row["populations"],
        )


def _champion(results: Results) -> Iterator[tuple]:
    curves = {task: results.toy_curves(task) for task in results.training_tasks}
    curves |= {task: part.curves for task, part in results.transfer.items()}
    for task, part in curves.items():
        if part.empty:
            continue
        for found in compare.compare_optimizers(compare.finals_of(part), "champion"):
            claim = f"The champion trains better than {optimizer_name(found.reference)} on {task}."
            yield _of_comparison(claim, "difference of final returns, paired seeds", found)


def _ablations(results: Results) -> Iterator[tuple]:
    learned: set[str] = set()
    for name, ablation in results.ablations.items():
        recipes = results.config.ablations[name].recipes
        full, title = next(iter(recipes.values())), name.replace("_", " ")
        for _, row in ablation.effects.iterrows():
            if row["variant"] != full:
                yield _row(
                    f"{full} is better than {row['variant']} ({title}).",
                    f"difference of IQMs of scores, {row['where']} tasks",
                    Measured(-row["difference"], -row["high"], -row["low"]),
                    _exactly(0.0),
                    row["meta_seeds"],
                )
        for _, row in ablation.factors.iterrows():
            names = row["term"].replace(" x ", " and ").capitalize()
            says = "raises scores"
            if " x " in row["term"]:
                says = "raise scores more together than alone"
            yield _row(
                f"{names} {says} ({title}).",
                f"effect in a factorial design on the IQM of scores, {row['where']} tasks",
                _of(row, "effect"),
                _exactly(0.0),
                row["meta_seeds"],
            )
        finals = compare.ablation_finals(ablation.curves)
        for recipe in [name for name in recipes if name not in learned]:
            learned.add(recipe)
            claim = (
                f"Meta-training improves {recipes[recipe]} over its untrained initialisation, on"
            )
            for found in compare.compare_stages(finals, recipe):
                measured = "difference of final returns"
                yield _of_comparison(f"{claim} {found.task}.", measured, found)


def _of_comparison(claim: str, measurement: str, found: compare.Comparison) -> tuple:
    """Claim that the subject of a comparison does better than its reference."""
    difference = Measured(found.difference, found.low, found.high)
    return _row(claim, measurement, difference, _exactly(0.0), found.seeds)

"""The claims about the gradients that agents give, and what optimizers see of them."""

import itertools
from collections.abc import Iterator

import pandas as pd

from l2o.choices import SUPERVISED_TASKS
from l2o.report.claims import Claim, Group, Measured, exactly
from l2o.report.results import Results
from l2o.report.sections.gradients.tables import accuracies
from l2o.statistics.columns.gradients import PHASES


def claims(results: Results) -> Iterator[Group]:
    """Yield the claims that studies were made for: rows of the table, not listed on the page."""
    studies = (_range, _change, _noise, _identity, _drift)
    yield Group("Gradients", "", [], [claim for study in studies for claim in study(results)])


def _measured(row: pd.Series, value: str) -> Measured:
    return Measured(float(row[value]), float(row["low"]), float(row["high"]))


def _sources(results: Results) -> tuple[list[str], list[str]]:
    """Return the recorded sources of RL, and of supervised learning."""
    sources = results.config.analysis.sources
    is_rl = {name: source.task not in SUPERVISED_TASKS for name, source in sources.items()}
    return [n for n, rl in is_rl.items() if rl], [n for n, rl in is_rl.items() if not rl]


def _than_supervised(
    results: Results, table: pd.DataFrame, claim: str, measurement: str, value: str
) -> Iterator[Claim]:
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
        pair = _measured(row, value), _measured(reference, value)
        yield Claim(claim.format(one, other), measurement, *pair, int(row["agents"]))


def _range(results: Results) -> Iterator[Claim]:
    table = results.gradients.tables.get("range")
    if table is None:
        return
    part = table[(table["tensor"] == "all") & (table["phase"] == PHASES[-1])]
    claim = "Gradients of {} span a wider range than those of {}."
    measured = "decades between the 0.1% and 99.9% quantiles of |g|, end of training"
    yield from _than_supervised(results, part, claim, measured, "decades")


def _change(results: Results) -> Iterator[Claim]:
    table = results.gradients.tables.get("distances")
    if table is None:
        return
    over_time = f"{PHASES[0]} and {PHASES[-1]}"
    part = table[table["compared"] == over_time]
    agents = table[table["compared"] == f"two agents, {PHASES[-1]}"].set_index("source")
    measured = "Wasserstein distance of log10 |g|, beginning and end"
    for _, row in part[part["source"].isin(_sources(results)[0])].iterrows():
        yield Claim(
            f"Gradients of {row['source']} are not identically distributed over a lifetime.",
            f"{measured}, against two agents at the end",
            _measured(row, "distance"),
            _measured(agents.loc[row["source"]], "distance"),
            int(row["agents"]),
        )
    claim = "Gradients of {} change more over a lifetime than those of {}."
    yield from _than_supervised(results, part, claim, measured, "distance")


def _noise(results: Results) -> Iterator[Claim]:
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
            cosine = _measured(row, "estimate")
            yield Claim(
                f"Gradients of {row['source']} are biased, {moment}.",
                "1 - cosine between the actor's gradient and that of Monte Carlo returns",
                Measured(1 - cosine.value, 1 - cosine.high, 1 - cosine.low),
                exactly(0.0),
                int(row["agents"]),
            )


def _identity(results: Results) -> Iterator[Claim]:
    if results.gradients.identity is None:
        return
    for source, part in accuracies(results.gradients.identity).groupby("source", sort=False):
        rows = part.set_index("processing")
        for name in rows.index.drop("none"):
            yield Claim(
                f"Processing ({name}) helps a network to reproduce gradients of {source}.",
                "share of outputs within 10% of the gradient, against no processing",
                _measured(rows.loc[name], "mean"),
                _measured(rows.loc["none"], "mean"),
                int(rows.loc[name, "seeds"]),
            )


def _drift(results: Results) -> Iterator[Claim]:
    table = results.gradients.tables.get("drift")
    if table is None:
        return
    late = table[table["outer_step"] >= table["outer_step"].max() / 2]
    means = late.groupby("scheme", sort=False)[["distance", "low", "high", "populations"]].mean()
    for scheme in means.index.drop("staggered"):
        row = means.loc[scheme]
        yield Claim(
            f"Pipeline training shows an optimizer what all ages give, resets {scheme} do not.",
            "distance from all ages alike, decades, second half; against staggered resets",
            _measured(row, "distance"),
            _measured(means.loc["staggered"], "distance"),
            int(row["populations"]),
        )

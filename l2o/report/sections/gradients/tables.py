"""The tables of the gradient studies."""

from typing import Any

import pandas as pd

from l2o.report.results import Results
from l2o.report.table import Row, Table
from l2o.report.text import NOTHING, interval, number
from l2o.statistics.returns import summarize

PUBLISHED = {"none": 0.75, "sign_log": 0.90}
"""The paper's accuracies on the identity task, without and with gradient processing."""
_PROCESSING = {
    "none": "none",
    "clip": "clip",
    "symlog": "symlog",
    "sign_log": "sign and log",
    "sign_log_scaled": "sign and scaled log",
    "log_scaled": "Andrychowicz et al., p = 10",
    "fourier": "Fourier features of log",
}
_SIGNALS = {
    "snr": "signal-to-noise ratio",
    "noise_scale": "noise scale, examples",
    "clear": "share of coordinates told from 0",
    "bias_cosine": "cosine with Monte Carlo returns",
}


def context(results: Results) -> dict[str, Any]:
    """Return the tables of the studies by name; None of those that were not made."""
    tables, identity = results.gradients.tables, results.gradients.identity
    if not tables and identity is None:
        return {}
    shown: dict[str, Table | None] = dict.fromkeys(
        ("range", "range_of_tensors", "distances", "variances", "signal", "identity")
    )
    if "range" in tables:
        whole = tables["range"]["tensor"] == "all"
        shown["range"] = _ranges(tables["range"][whole])
        shown["range_of_tensors"] = _ranges(tables["range"][~whole])
    if "distances" in tables:
        shown["distances"] = _distances(tables["distances"])
        shown["variances"] = _variances(tables["variances"])
    if "signal" in tables:
        shown["signal"] = _signals(tables["signal"])
    if identity is not None:
        shown["identity"] = _identity(identity)
    return shown


def accuracies(identity: pd.DataFrame) -> pd.DataFrame:
    """Return mean accuracies on the agent that is left out, with intervals over networks.

    Args:
        identity: See :data:`l2o.statistics.columns.gradients.IDENTITY_COLUMNS`.
    """
    chosen = identity[identity["chosen"]]
    return summarize(chosen, ["source", "processing", "learning_rate"], "test")


def _ranges(table: pd.DataFrame) -> Table:
    head = ("phase", "tensor", "0.1%", "1%", "median", "99%", "99.9%")
    head += ("decades", "95% interval", "exact zeros", "agents")
    groups = {
        str(source): [
            Row(
                (
                    row.phase,
                    row.tensor,
                    *(number(q) for q in (row.q001, row.q01, row.median, row.q99, row.q999)),
                    number(row.decades),
                    interval(row.low, row.high),
                    f"{100 * row.zeros:.1f}%",
                    str(row.agents),
                )
            )
            for row in part.itertuples()
        ]
        for source, part in table.groupby("source", sort=False)
    }
    return Table(head, groups, words=2)


def _distances(table: pd.DataFrame) -> Table:
    groups = {
        str(source): [
            Row(
                (r.compared, number(r.distance), interval(r.low, r.high), str(r.agents)),
            )
            for r in part.itertuples()
        ]
        for source, part in table.groupby("source", sort=False)
    }
    return Table(("compared", "distance, decades", "95% interval", "agents"), groups)


def _variances(table: pd.DataFrame) -> Table:
    groups = {
        str(source): [
            Row((r.phase, number(r.within), number(r.between), str(r.agents)))
            for r in part.itertuples()
        ]
        for source, part in table.groupby("source", sort=False)
    }
    return Table(("phase", "within an agent", "between agents", "agents"), groups)


def _signals(table: pd.DataFrame) -> Table:
    groups: dict[str, list[Row]] = {}
    for (source, examples), part in table.groupby(["source", "examples"], sort=False):
        groups[f"{source} ({examples:,} examples in a gradient)"] = [
            Row(
                (
                    _SIGNALS[row.measure],
                    row.moment,
                    number(row.estimate),
                    interval(row.low, row.high),
                    str(row.agents),
                )
            )
            for measure in _SIGNALS
            for row in part[part["measure"] == measure].itertuples()
        ]
    return Table(("measure", "moment", "estimate", "95% interval", "agents"), groups, words=2)


def _identity(identity: pd.DataFrame) -> Table:
    groups = {
        str(source): [
            Row(
                (
                    _PROCESSING[row.processing],
                    f"{100 * row.mean:.1f}%",
                    interval(100 * row.low, 100 * row.high),
                    str(row.seeds),
                    f"{row.learning_rate:g}",
                    f"{100 * PUBLISHED[row.processing]:.0f}%"
                    if row.processing in PUBLISHED
                    else NOTHING,
                )
            )
            for row in part.itertuples()
        ]
        for source, part in accuracies(identity).groupby("source", sort=False)
    }
    head = ("gradient processing", "accuracy", "95% interval, %", "networks")
    return Table((*head, "learning rate", "paper (about)"), groups)

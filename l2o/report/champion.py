"""The champion beside all other optimizers on one task: tables and claims."""

from collections.abc import Mapping

import pandas as pd

from l2o.report.claims import Group, Point, Verdict
from l2o.report.compare import Comparison, compare_optimizers, finals_of, summary_of
from l2o.report.rows import COMPARISON, comparison_row
from l2o.report.table import Table
from l2o.report.text import count, interval, number, optimizer_name

CHAMPION = "champion"
_STATEMENTS = {
    "untrained": "Meta-training improved the optimizer",
    "adam": "The meta-trained optimizer beats tuned Adam",
    "adam_decay": "The meta-trained optimizer beats tuned Adam with a linear decay",
    "rmsprop": "The meta-trained optimizer beats tuned RMSProp",
    "sign": "It does more than sign descent with a well-chosen step size",
}


def champion_table(evaluations: Mapping[str, pd.DataFrame]) -> Table:
    """Compare the champion with everything else.

    Args:
        evaluations: Learning curves of one task each, by title.
    """
    groups = {
        title: [
            comparison_row(optimizer_name(comparison.reference), comparison)
            for comparison in compare_optimizers(finals_of(curves), CHAMPION)
        ]
        for title, curves in evaluations.items()
    }
    return Table(("champion against", *COMPARISON, "paired seeds"), groups, words=2)


def champion_claims(title: str, note: str, task: str, curves: pd.DataFrame) -> Group:
    """Claim that the champion trains better than everything else.

    Args:
        title: Of the group.
        note: Of the group.
        task: Where they were trained.
        curves: Learning curves of this task.
    """
    finals = finals_of(curves)
    summary = summary_of(finals, ["optimizer"]).set_index("optimizer")
    comparisons = compare_optimizers(finals, CHAMPION)
    claims = [
        comparison.claim(
            f"The champion trains better than {optimizer_name(comparison.reference)} on {task}.",
            "difference of final returns, paired seeds",
        )
        for comparison in comparisons
    ]
    points = [_point(c, summary) for c in comparisons if c.reference != "random"]
    return Group(title, note, points, claims)


def _point(comparison: Comparison, summary: pd.DataFrame) -> Point:
    name, verdict = optimizer_name(comparison.reference), comparison.verdict
    statement = _STATEMENTS.get(comparison.reference, f"The meta-trained optimizer beats {name}")
    evidence = _sentence(comparison)
    if comparison.reference == "untrained" and verdict is not Verdict.UNKNOWN:
        evidence += f" {_overlap(summary.loc[CHAMPION], summary.loc['untrained'])}"
    return Point(verdict.status, verdict.slug, f"{statement}.", evidence.strip())


def _sentence(comparison: Comparison) -> str:
    """Write a comparison of the champion as a sentence."""
    own = comparison.reference == "untrained"
    reference = ("its " if own else "") + optimizer_name(comparison.reference)
    start = f"The champion {comparison.verdict.phrase} {reference}"
    if comparison.verdict is Verdict.UNKNOWN:
        return f"{start}: {comparison.numbers}."
    return (
        f"{start}: mean final return {number(comparison.mean)} against "
        f"{number(comparison.reference_mean)}, difference "
        f"{number(comparison.difference, signed=True)}, 95% interval "
        f"{interval(comparison.low, comparison.high, signed=True)} over "
        f"{count(comparison.seeds, 'paired seed')}."
    )


def _overlap(one: pd.Series, other: pd.Series) -> str:
    """Say whether the 95% intervals of two means overlap."""
    apart = one["low"] > other["high"] or one["high"] < other["low"]
    return (
        f"Their own 95% intervals, {interval(one['low'], one['high'])} and "
        f"{interval(other['low'], other['high'])}, {'do not overlap' if apart else 'overlap'}."
    )

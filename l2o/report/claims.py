"""What a run shows, in sentences that follow from the intervals alone."""

import dataclasses
import itertools

import pandas as pd

from l2o.report import compare
from l2o.report.compare import Comparison, Verdict
from l2o.report.results import Results
from l2o.report.text import count, interval, listing, number, optimizer_name

_STATUS = {
    Verdict.BETTER: "supported",
    Verdict.WORSE: "not supported",
    Verdict.SAME: "inconclusive",
    Verdict.UNKNOWN: "cannot be judged",
}
_QUESTIONS = {
    "untrained": "Meta-training improved the optimizer",
    "adam": "The meta-trained optimizer beats tuned Adam",
    "adam_decay": "The meta-trained optimizer beats tuned Adam with a linear decay",
    "rmsprop": "The meta-trained optimizer beats tuned RMSProp",
    "sign": "It does more than sign descent with a well-chosen step size",
}


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        status: What the evidence makes of it, one or two words.
        slug: Style class of the status.
        statement: The claim.
        evidence: The numbers.
    """

    status: str
    slug: str
    statement: str
    evidence: str


@dataclasses.dataclass(frozen=True)
class Group:
    """Claims that belong together, under a heading."""

    title: str
    note: str
    claims: list[Claim]


def all_claims(results: Results) -> list[Group]:
    """Return every claim of the report, grouped; groups without results are left out."""
    groups = [_toy_group(results, task) for task in results.training_tasks]
    groups += [_transfer_group(results, task) for task in results.transfer]
    groups += [_ablation_group(results, name) for name in results.ablations]
    return [group for group in groups if group.claims]


def _toy_group(results: Results, task: str) -> Group:
    curves = results.toy_curves(task)
    claims = [] if curves.empty else _champion_claims(curves)
    note = (
        "The champion runs at the inner learning rate of its meta-training, untuned here; the "
        "classical optimizers are tuned on this task."
    )
    return Group(f"On the meta-training task {task}", note, claims)


def _transfer_group(results: Results, task: str) -> Group:
    tuned_on = listing(results.config.transfer.tuning_tasks)
    note = (
        "Never seen in meta-training or selection. Every optimizer, the champion and its untrained "
        f"initialisation included, has its learning rate tuned on {tuned_on} with the same budget."
    )
    return Group(
        f"Transfer to the test task {task}", note, _champion_claims(results.transfer[task].curves)
    )


def _champion_claims(curves: pd.DataFrame) -> list[Claim]:
    finals = compare.finals_of(curves)
    summary = compare.summary_of(finals, ["optimizer"]).set_index("optimizer")
    found = compare.compare_optimizers(finals, "champion")
    return [_champion_claim(c, summary) for c in found if c.reference != "random"]


def _champion_claim(comparison: Comparison, summary: pd.DataFrame) -> Claim:
    name = optimizer_name(comparison.reference)
    statement = _QUESTIONS.get(comparison.reference, f"The meta-trained optimizer beats {name}")
    evidence = sentence(comparison)
    if comparison.reference == "untrained" and comparison.verdict is not Verdict.UNKNOWN:
        evidence += f" {overlap(summary.loc['champion'], summary.loc['untrained'])}"
    return Claim(
        _STATUS[comparison.verdict], comparison.verdict.slug, f"{statement}.", evidence.strip()
    )


def sentence(comparison: Comparison) -> str:
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


def overlap(one: pd.Series, other: pd.Series) -> str:
    """Say whether the 95% intervals of two means overlap."""
    apart = one["low"] > other["high"] or one["high"] < other["low"]
    return (
        f"Their own 95% intervals, {interval(one['low'], one['high'])} and "
        f"{interval(other['low'], other['high'])}, {'do not overlap' if apart else 'overlap'}."
    )


def _ablation_group(results: Results, name: str) -> Group:
    variants = results.variants(name)
    finals = compare.ablation_finals(results.ablations[name].curves)
    pairs = compare.compare_pairs(finals, list(variants))
    claims = [
        _pair_claim(list(group), variants)
        for _, group in itertools.groupby(pairs, key=lambda c: (c.subject, c.reference))
    ]
    title = f"Ablation: {name.replace('_', ' ')}"
    question = results.config.ablations[name].question
    return Group(title, f"{question} {_gains(finals)}", claims)


def _pair_claim(comparisons: list[Comparison], names: dict[str, str]) -> Claim:
    """Write two variants on all tasks as one claim; its status is what all tasks agree on."""
    verdicts = {comparison.verdict for comparison in comparisons}
    verdict = verdicts.pop() if len(verdicts) == 1 else None
    first = comparisons[0]
    return Claim(
        verdict.value if verdict else "differs by task",
        verdict.slug if verdict else "mixed",
        f"{names[first.subject]} against {names[first.reference]}:",
        "; ".join(f"{c.verdict} on {c.task} ({c.numbers})" for c in comparisons) + ".",
    )


def _gains(finals: pd.DataFrame) -> str:
    """Say for how many variants and tasks meta-training itself helped."""
    every = [
        c for recipe in finals["recipe"].unique() for c in compare.compare_stages(finals, recipe)
    ]
    if not every:
        return ""
    amounts = [(sum(c.verdict is verdict for c in every), verdict.value) for verdict in Verdict]
    parts = [f"{amount} {word}" for amount, word in amounts if amount]
    return (
        f"Trained against their own untrained initialisations, over "
        f"{count(len(every), 'pair')} of variant and task: {listing(parts)}."
    )

"""The claims of the ablations."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from l2o.report.claims import Claim, Group, Measured, Point, Verdict, exactly
from l2o.report.compare import Comparison
from l2o.report.results import AblationResults, Results
from l2o.report.sections.ablations.comparisons import (
    ablation_finals,
    compare_checkpoints,
    compare_pairs,
)
from l2o.report.text import count, listing

_FEW = 3
"""Points, more of which are folded."""


def claims(results: Results) -> Iterator[Group]:
    """Yield a group for every ablation."""
    learned: set[str] = set()
    for name, ablation in results.ablations.items():
        names, title = results.levels(name), name.replace("_", " ")
        finals = ablation_finals(ablation.curves)
        gains = {
            recipe: list(compare_checkpoints(finals, recipe))
            for recipe in finals["recipe"].unique()
        }
        points = _points(finals, names)
        rows = [*_effects(ablation, names, title), *_factors(ablation, title)]
        # A recipe that several ablations share has learned once.
        for recipe in [recipe for recipe in names if recipe not in learned]:
            rows += _gains(gains.get(recipe, ()), names[recipe])
        learned |= set(names)
        question = f"{results.config.ablations[name].question} {_gains_note(gains)}"
        yield Group(f"Ablation: {title}", question, points, rows, folded=len(points) > _FEW)


def _points(finals: pd.DataFrame, names: Mapping[str, str]) -> list[Point]:
    pairs = compare_pairs(finals, list(names))
    return [
        _point(list(group), names)
        for _, group in itertools.groupby(pairs, key=lambda c: (c.subject, c.reference))
    ]


def _point(comparisons: Sequence[Comparison], names: Mapping[str, str]) -> Point:
    """Write two levels on all tasks as one; its status is what all tasks agree on."""
    verdicts = {comparison.verdict for comparison in comparisons}
    verdict = verdicts.pop() if len(verdicts) == 1 else None
    first = comparisons[0]
    return Point(
        verdict.value if verdict else "differs by task",
        verdict.slug if verdict else "mixed",
        f"{names[first.subject]} against {names[first.reference]}:",
        "; ".join(f"{c.verdict} on {c.task} ({c.numbers})" for c in comparisons) + ".",
    )


def _gains_note(gains: Mapping[str, Sequence[Comparison]]) -> str:
    """Say for how many levels and tasks meta-training itself helped."""
    every = [comparison for comparisons in gains.values() for comparison in comparisons]
    if not every:
        return ""
    amounts = [(sum(c.verdict is verdict for c in every), verdict.value) for verdict in Verdict]
    parts = [f"{amount} {word}" for amount, word in amounts if amount]
    return (
        f"Trained against their own untrained initialisations, over "
        f"{count(len(every), 'pair')} of level and task: {listing(parts)}."
    )


def _effects(ablation: AblationResults, names: Mapping[str, str], title: str) -> Iterator[Claim]:
    full = next(iter(names.values()))
    for _, row in ablation.effects.iterrows():
        if row["level"] != full:
            yield Claim(
                f"{full} is better than {row['level']} ({title}).",
                f"difference of IQMs of scores, {row['role']} tasks",
                Measured(-row["difference"], -row["high"], -row["low"]),
                exactly(0.0),
                int(row["meta_seeds"]),
            )


def _factors(ablation: AblationResults, title: str) -> Iterator[Claim]:
    for _, row in ablation.factors.iterrows():
        names = row["term"].replace(" x ", " and ").capitalize()
        says = "raises scores"
        if " x " in row["term"]:
            says = "raise scores more together than alone"
        yield Claim(
            f"{names} {says} ({title}).",
            f"effect in a factorial design on the IQM of scores, {row['role']} tasks",
            Measured(float(row["effect"]), float(row["low"]), float(row["high"])),
            exactly(0.0),
            int(row["meta_seeds"]),
        )


def _gains(comparisons: Sequence[Comparison], name: str) -> Iterator[Claim]:
    claim = f"Meta-training improves {name} over its untrained initialisation, on"
    for comparison in comparisons:
        yield comparison.claim(f"{claim} {comparison.task}.", "difference of final returns")

"""Claims, and the verdicts on them, which follow from 95% intervals alone."""

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from l2o.report.table import Row, Table
from l2o.report.text import interval, number
from l2o.statistics.columns.comparisons import CLAIM_COLUMNS


class Verdict(enum.StrEnum):
    """What intervals allow to say of a value and another one."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "not distinguishable"
    UNKNOWN = "not comparable"

    @property
    def phrase(self) -> str:
        """The verdict as the middle of a sentence."""
        words = {
            Verdict.BETTER: "is better than",
            Verdict.WORSE: "is worse than",
            Verdict.SAME: "is not distinguishable from",
        }
        return words.get(self, "cannot be compared with")

    @property
    def status(self) -> str:
        """What it makes of the claim that the value is the larger one."""
        words = {
            Verdict.BETTER: "supported",
            Verdict.WORSE: "not supported",
            Verdict.SAME: "inconclusive",
        }
        return words.get(self, "cannot be judged")

    @property
    def slug(self) -> str:
        """The verdict as the name of a style class."""
        return self.value.replace(" ", "-")


class Measured(NamedTuple):
    """A number with its 95% interval, whose ends are NaN if there is none."""

    value: float
    low: float
    high: float


def exactly(value: float) -> Measured:
    """Return a number that is known."""
    return Measured(value, value, value)


def judge(value: Measured, against: Measured) -> Verdict:
    """Return whether an interval lies above another one, below it, or neither."""
    if value.low > against.high:
        return Verdict.BETTER
    if value.high < against.low:
        return Verdict.WORSE
    known = all(map(math.isfinite, (value.low, value.high, against.low, against.high)))
    return Verdict.SAME if known else Verdict.UNKNOWN


@dataclasses.dataclass(frozen=True)
class Claim:
    """The claim that a value exceeds another.

    Attributes:
        statement: What is claimed.
        measurement: What was measured.
        value: The measurement.
        against: What it must exceed.
        seeds: Agents, networks, populations or meta-training runs behind the interval.
    """

    statement: str
    measurement: str
    value: Measured
    against: Measured
    seeds: int

    @property
    def verdict(self) -> Verdict:
        """The verdict; what has no interval counts as not distinguishable."""
        verdict = judge(self.value, self.against)
        return Verdict.SAME if verdict is Verdict.UNKNOWN else verdict


@dataclasses.dataclass(frozen=True)
class Point:
    """What a comparison says in words.

    Attributes:
        status: What the evidence makes of the statement, one or two words.
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
    """Claims that belong together.

    Attributes:
        title: Heading on the page.
        note: Below it.
        points: What the page lists.
        claims: Rows of the table.
        folded: Whether the list is opened by the reader.
    """

    title: str
    note: str
    points: Sequence[Point]
    claims: Sequence[Claim]
    folded: bool = False


def claim_frame(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return claims as a table to write; see ``CLAIM_COLUMNS``."""
    rows = [
        (c.statement, c.measurement, *c.value, *c.against, c.seeds, c.verdict.status)
        for c in claims
    ]
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS))


def claim_table(claims: Iterable[Claim]) -> Table:
    """Return claims as a table to show, grouped by what was measured."""
    groups: dict[str, list[Row]] = {}
    for claim in claims:
        value, against = claim.value, claim.against
        cells = (
            claim.statement,
            claim.verdict.status,
            f"{number(value.value)} {interval(value.low, value.high)}",
            number(against.value)
            + (f" {interval(against.low, against.high)}" if against.value else ""),
            str(claim.seeds),
        )
        groups.setdefault(claim.measurement, []).append(Row(cells, verdict=claim.verdict.slug))
    return Table(("claim", "verdict", "value", "against", "seeds"), groups, words=2)

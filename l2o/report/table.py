"""Tables, ready to be written."""

import dataclasses
from collections.abc import Mapping, Sequence


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
    """A table.

    Attributes:
        head: Titles of the columns.
        groups: Rows, under the title of their group; an empty title is not written.
        words: How many leading columns hold words; the others hold numbers, set to the right.
    """

    head: Sequence[str]
    groups: Mapping[str, Sequence[Row]]
    words: int = 1

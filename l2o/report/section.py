"""What a section of the page is made of."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from l2o.report.claims import Group
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results


@dataclasses.dataclass(frozen=True)
class Section:
    """A section: its folder also holds ``section.html.j2``, its part of the page.

    Attributes:
        anchor: Identifier on the page.
        entry: In the page's table of contents.
        context: Returns what the section's part of the page shows, there called ``part``; those of
            stages that were not run are left out.
        drawings: Returns the figures.
        claims: Returns the claims, in groups.
    """

    anchor: str
    entry: str
    context: Callable[[Results], dict[str, Any]]
    drawings: Callable[[Results], Iterable[Drawing]]
    claims: Callable[[Results], Iterable[Group]] = lambda results: ()

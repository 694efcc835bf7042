"""Colours and line styles: one per optimizer in the whole report, told apart by anyone."""

import dataclasses
from collections.abc import Iterable
from typing import Any

INK = "#26292e"
QUIET = "#6b7178"
GRID = "#e4e6e9"


@dataclasses.dataclass(frozen=True)
class Line:
    """How an optimizer or a recipe is drawn."""

    colour: str
    dashes: Any = "solid"
    width: float = 1.5


# Dark variants of the Okabe-Ito palette, so that labels in these colours can be read on white.
# The champion and its untrained initialisation are two blues: the dashes tell them apart.
CHAMPION = Line("#00538f", width=2.3)
UNTRAINED = Line("#3f93cf", (0, (4, 2)))
_OPTIMIZERS = {
    "champion": CHAMPION,
    "untrained": UNTRAINED,
    "adam": Line("#c24e00"),
    "adam_decay": Line("#8a6500", (0, (4, 2))),
    "rmsprop": Line("#a8508f", (0, (6, 1.5, 1.5, 1.5))),
    "sign": Line("#007d5c", (0, (1.5, 1.2))),
    "random": Line(QUIET, (0, (1, 3))),
}
_OTHERS = (
    Line("#c24e00"),
    Line("#007d5c", (0, (1.5, 1.2))),
    Line("#a8508f", (0, (6, 1.5, 1.5, 1.5))),
    Line("#8a6500", (0, (4, 2))),
    Line("#44484d"),
    Line("#6d55b5", (0, (6, 1.5, 1.5, 1.5))),
    Line("#a01c34", (0, (1.5, 1.2))),
)
# For optimizers without a style of their own, beside all those that have one.
_SPARE = (
    Line("#6d55b5", (0, (6, 1.5, 1.5, 1.5))),
    Line("#a01c34", (0, (1.5, 1.2))),
    Line("#44484d"),
    Line("#5a6b00", (0, (4, 2))),
)

MATPLOTLIB: dict[str, Any] = {
    # Text stays text, in whatever sans-serif font the reader has.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "white",
}


# Figures as wide as a column of a paper, in inches, with text that can be read there.
COLUMN_WIDTH = 3.35
COLUMN: dict[str, Any] = MATPLOTLIB | {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlepad": 5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "legend.fontsize": 7,
    "legend.frameon": False,
}


def optimizer_lines(labels: Iterable[str]) -> dict[str, Line]:
    """Return the styles of optimizers that stand in one figure, all different."""
    others = [label for label in labels if label not in _OPTIMIZERS]
    return _OPTIMIZERS | {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(others)}


def optimizer_line(label: str, position: int = 0) -> Line:
    """Return the style of an optimizer; ``position`` picks one for a name that has none."""
    return _OPTIMIZERS.get(label, _OTHERS[(position + 3) % len(_OTHERS)])


def recipe_lines(recipes: list[str], selected: str) -> dict[str, Line]:
    """Return the styles of recipes; the one that the champion comes from looks like it."""
    others = [recipe for recipe in recipes if recipe != selected]
    lines = {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(others)}
    return lines | {selected: CHAMPION}


def source_lines(sources: Iterable[str]) -> dict[str, Line]:
    """Return the styles of sources of gradients."""
    return {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(sources)}

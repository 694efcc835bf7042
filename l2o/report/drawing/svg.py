"""Writes figures as files and as SVG elements that can stand side by side in one page."""

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from markupsafe import Markup, escape

from l2o.files import atomic_path
from l2o.report.drawing.style import MATPLOTLIB

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".svg", ".png")
_PNG_DPI = 160


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure with its name (also of its files) and what it shows, for those who cannot see it."""

    name: str
    figure: "Figure"
    description: str


def save(drawing: Drawing, folder: Path) -> Markup:
    """Write ``<name>.svg`` and ``<name>.png`` and return the figure as inline SVG."""
    svg = folder / f"{drawing.name}.svg"
    # The salt and the missing date make equal figures equal files.
    with matplotlib.rc_context({**MATPLOTLIB, "svg.hashsalt": drawing.name}):
        with atomic_path(svg) as path:
            drawing.figure.savefig(path, format="svg", metadata={"Date": None})
        drawing.figure.set_layout_engine("none")  # Laid out by now; once is enough.
        with atomic_path(svg.with_suffix(".png")) as path:
            drawing.figure.savefig(path, format="png", dpi=_PNG_DPI)
    return inline(svg.read_text(encoding="utf-8"), drawing)


def inline(svg: str, drawing: Drawing) -> Markup:
    """Reduce an SVG file to an element: scalable, described, with identifiers of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    prefix = f"{drawing.name}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}', svg)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    box = view_box.group() if view_box else ""
    opening = f'<svg {box} role="img" aria-label="{escape(drawing.description)}">'
    return Markup(opening + svg[svg.index(">") + 1 :])

"""From the files of a run to one HTML page and its figures."""

import datetime
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from l2o.config.models import Config
from l2o.files import write_table, write_text
from l2o.report import cost, text, tuning
from l2o.report.claims import Group, claim_frame, claim_table
from l2o.report.drawing import svg
from l2o.report.glossary import GLOSSARY
from l2o.report.load import load
from l2o.report.results import Results
from l2o.report.section import Section
from l2o.report.sections import SECTIONS
from l2o.statistics.bootstrap import MIN_SEEDS
from l2o.statistics.returns import FINAL_SHARE

_FIRST = "gradients"
"""The table of claims begins with the problem."""


def build_report(config: Config, folder: Path, out: Path) -> None:
    """Write the report of a run and its figures.

    Args:
        config: The run's configuration.
        folder: Of a scale, ``results/<scale>``.
        out: The page. Beside it go ``figures/<section>/``, as SVG and PNG, and ``claims.parquet``,
            see :data:`l2o.statistics.columns.comparisons.CLAIM_COLUMNS`.

    Raises:
        ResultsError: A file of a job that was run is missing or truncated.
    """
    results = load(config, folder)
    known = {name: _section(name) for name in SECTIONS}
    groups = {name: list(section.claims(results)) for name, section in known.items()}
    claims = [c for name in _claim_order() for group in groups[name] for c in group.claims]
    write_table(out.parent / "claims.parquet", claim_frame(claims))
    figures = save_drawings(results, known, out.parent / "figures")
    parts = [
        {
            "anchor": section.anchor,
            "entry": section.entry,
            "template": f"sections/{name}/section.html.j2",
            "part": section.context(results),
            "figures": figures[name],
        }
        for name, section in known.items()
    ]
    listed = [group for several in groups.values() for group in several if group.points]
    context = _context(results, listed) | {"sections": parts, "claim_table": claim_table(claims)}
    write_text(out, _template().render(context))


def _section(name: str) -> Section:
    return importlib.import_module(f"l2o.report.sections.{name}").SECTION


def _claim_order() -> Iterable[str]:
    return sorted(SECTIONS, key=lambda name: name != _FIRST)


def save_drawings(
    results: Results, known: Mapping[str, Section], folder: Path
) -> dict[str, dict[str, Markup]]:
    """Write the figures, a folder for each section, and remove those of an earlier report.

    Args:
        results: What they show.
        known: The sections by name.
        folder: Gets a folder for each section; those of stages that were not run are empty.

    Returns:
        The figures as inline SVG, by section and name.
    """
    drawn: dict[str, dict[str, Markup]] = {}
    written = set()
    for name, section in known.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        drawn[name] = {}
        for drawing in section.drawings(results):
            drawn[name][drawing.name] = svg.save(drawing, folder / name)
            written |= {folder / name / f"{drawing.name}{kind}" for kind in svg.KINDS}
    for path in folder.rglob("*"):
        if path.suffix in svg.KINDS and path not in written:
            path.unlink()
    return drawn


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters = (text.count, text.listing, text.number, text.optimizer_name, text.rate)
    environment.filters.update({function.__name__: function for function in filters})
    return environment.get_template("page.html.j2")


def _context(results: Results, groups: list[Group]) -> dict[str, Any]:
    """Return what the page writes about outside its sections, and what all of them know."""
    settings, costs = results.config, cost.of_jobs(results.jobs)
    return {
        "results": results,
        "config": settings,
        "recipe": settings.recipes[settings.select.recipe],
        "resolved": settings.model_dump_json(indent=2),
        "date": _date(results),
        "commit": cost.commits(results.jobs),
        "groups": groups,
        "toy_tuning": tuning.of_toy_tasks(results),
        "transfer_tuning": tuning.of_transfer(results),
        "costs": costs,
        "links": {job.name: job.url for job in costs if job.url},
        "stages": cost.by_stage(results.jobs),
        "phases": cost.PHASES,
        "environment": cost.environment(results.jobs),
        "glossary": GLOSSARY,
        "final_share": FINAL_SHARE,
        "min_seeds": MIN_SEEDS,
    }


def _date(results: Results) -> str:
    """Return the day on which the last job ended: equal results give an equal report."""
    ends = [datetime.datetime.fromisoformat(job.record["ended"]) for job in results.jobs]
    return max(ends).date().isoformat() if ends else text.NOTHING

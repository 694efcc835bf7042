"""One page about everything that ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from l2o.pipeline.contract import Input, Stage, folder_option, job
from l2o.pipeline.jobs import usual
from l2o.report.sections import SECTIONS

if TYPE_CHECKING:
    from l2o.config.models import Config


def settings(config: Config) -> Config:
    """Return the whole configuration: the page shows it."""
    return config


def inputs(config: Config) -> Iterator[Input]:
    """Yield the records of all jobs of the whole pipeline, and their delivery.

    That is not read: beside each job it leaves the address of its run, to which the page links.
    Trials of a scale are not delivered.
    """
    yield from map(Input, usual(config))
    if config.trial is None:
        yield Input(job("track"), ("tracking.json",))


def run(settings: Config, out: Path, results: Path) -> None:
    """Write the page and its figures; see :func:`l2o.report.page.build_report`."""
    from l2o.report.page import build_report

    build_report(settings, results, out)


STAGE = Stage(
    help="write one HTML page about everything that ran",
    settings=settings,
    inputs=inputs,
    run=run,
    folder="",
    outputs=("report.html", "claims.parquet", *(f"figures/{section}" for section in SECTIONS)),
    options=(folder_option("--results", "", "folder results/<scale>"),),
    out="report.html",
    out_help="the page",
    has_record=False,
)

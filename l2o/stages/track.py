"""Delivery of finished jobs to MLflow, and a look at them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from l2o.pipeline.contract import Input, Option, Stage
from l2o.pipeline.jobs import usual

if TYPE_CHECKING:
    from l2o.config.models import Config


def settings(config: Config) -> None:
    """Return nothing: what is delivered are the records of all jobs."""
    del config


def read(args: Namespace, files: ModuleType) -> None:
    """Return nothing, see :func:`settings`."""
    del args, files


def inputs(config: Config) -> Iterator[Input]:
    """Yield the records of all jobs of the whole pipeline."""
    yield from map(Input, usual(config))


def run(
    settings: None, out: Path | None, action: str, results: Path, uri: str | None, port: int
) -> int:
    """Deliver, or browse; see :mod:`l2o.tracking.command`."""
    from l2o.tracking.command import main_sync, main_ui

    del settings
    if action == "ui":
        return main_ui(results, uri, port)
    return main_sync(results, uri, out)


STAGE = Stage(
    help="bring finished jobs into MLflow, each exactly once, or show them (sync, ui)",
    settings=settings,
    inputs=inputs,
    run=run,
    folder="",
    outputs=("tracking.json",),
    options=(
        Option(
            "action",
            "deliver, or browse on this machine only",
            keywords={"choices": ["sync", "ui"]},
        ),
        Option(
            "--results",
            "folder of all results",
            keywords={"type": Path, "default": Path("results")},
        ),
        Option("--uri", "MLflow tracking URI (default: a database in RESULTS)"),
        Option("--port", "of the pages (default: 5000)", keywords={"type": int, "default": 5000}),
    ),
    out="tracking.json",
    out_help="write what was delivered as JSON; an unreachable store is then no failure",
    is_out_required=False,
    has_record=False,
    config_help=None,
    read=read,
    leading=("sync",),
)

"""What recordings of gradients say, as tables and figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.choices import STUDIES
from l2o.errors import unknown_name
from l2o.pipeline.contract import Input, Job, Option, Stage, job, name_option
from l2o.pipeline.jobs import recordings as recordings_of
from l2o.pipeline.options import RECORDINGS
from l2o.statistics.columns.gradients import POPULATION_COLUMNS, RECORDING_TABLES

if TYPE_CHECKING:
    from l2o.config.models import Config


class Settings(NamedTuple):
    """What the results depend on."""

    study: str
    scale: str
    sources: tuple[str, ...]


def settings(config: Config, study: str) -> Settings:
    """Return the settings of a study.

    Raises:
        L2OError: There is no such study.
    """
    if study not in STUDIES:
        raise unknown_name("study", study, STUDIES)
    return Settings(study, config.scale, tuple(config.analysis.sources))


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every study, if there are recordings to study."""
    return (job("study", study=study) for study in STUDIES if config.analysis.sources)


def inputs(config: Config, study: str) -> Iterator[Input]:
    """Yield the recordings of every source and, for one study, those of populations."""
    tables = tuple(f"{table}.parquet" for table in RECORDING_TABLES)
    for one in recordings_of(config):
        yield Input(one, tables)
    if study == "non_iid":
        yield Input(job("drift"), ("drift.parquet",))


def run(settings: Settings, out: Path, recordings: Path, drift: Path | None = None) -> None:
    """Write the tables (parquet) and figures of a study, and ``run.json``, in ``out``.

    Raises:
        ResultsError: A recording is missing or damaged.
    """
    import pandas as pd

    from l2o.files import read_table, write_table
    from l2o.jobs.record import Run
    from l2o.report.drawing import svg
    from l2o.report.sections.gradients.figures import study_drawings
    from l2o.statistics.gradients import study_summary, study_tables

    of_populations = drift or recordings.parent / "drift"

    def read(table: str) -> pd.DataFrame:
        if table == "drift":
            return read_table(of_populations / "drift.parquet", POPULATION_COLUMNS)
        folders = [recordings / source for source in settings.sources]
        columns = RECORDING_TABLES[table]
        parts = [read_table(folder / f"{table}.parquet", columns) for folder in folders]
        return pd.concat(parts, ignore_index=True)

    record = {"study": settings.study, "sources": settings.sources}
    tags = {"study": settings.study, "scale": settings.scale}
    with Run(out, stage="study", config=record, seed=0, tags=tags) as run:
        tables = study_tables(settings.study, read)
        for name, table in tables.items():
            write_table(out / f"{name}.parquet", table)
        for drawing in study_drawings(tables, read("histograms")):
            svg.save(drawing, out)
        run.summary(study_summary(tables))


STAGE = Stage(
    help="tables and figures from recorded gradients",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    folder="analysis/{study}",
    options=(
        name_option("--study", "range, non_iid or noise"),
        RECORDINGS,
        Option(
            "--drift",
            "folder of `l2o drift`, for the study non_iid",
            earlier="analysis/drift",
        ),
    ),
)

"""The stage `study`: what recordings of gradients say, as tables and figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from l2o.config.models import Config
from l2o.errors import unknown_name
from l2o.files import read_table, write_table
from l2o.jobs.record import Run
from l2o.report.drawing import svg
from l2o.report.sections.gradients.figures import study_drawings
from l2o.statistics import gradients
from l2o.statistics.columns.gradients import PHASES, POPULATION_COLUMNS, RECORDING_TABLES

Tables = Mapping[str, pd.DataFrame]


def _range(read: Callable[[str], pd.DataFrame]) -> Tables:
    return {"range": gradients.ranges(read("histograms"), read("tensors"))}


def _non_iid(read: Callable[[str], pd.DataFrame]) -> Tables:
    histograms = read("histograms")
    return {
        "distances": gradients.distances(histograms),
        "variances": gradients.variances(histograms),
        "autocorrelation": gradients.autocorrelations(read("time")),
        "drift": gradients.drifts(read("drift")),
    }


def _noise(read: Callable[[str], pd.DataFrame]) -> Tables:
    return {"signal": gradients.signals(read("noise"))}


STUDIES: dict[str, Callable[[Callable[[str], pd.DataFrame]], Tables]] = {
    "range": _range,
    "non_iid": _non_iid,
    "noise": _noise,
}


def study(config: Config, name: str, recordings: Path, drift: Path, out: Path) -> None:
    """Write the tables (parquet) and figures of a study, and ``run.json``, in ``out``.

    Args:
        config: The pipeline's configuration.
        name: Which, see ``STUDIES``.
        recordings: Folder with a sub-folder of recordings per source.
        drift: Folder of the stage `drift`, for the study ``non_iid``.
        out: Folder of the results.

    Raises:
        L2OError: Unknown study.
        ResultsError: A recording is missing or damaged.
    """
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    sources = list(config.analysis.sources)

    def read(table: str) -> pd.DataFrame:
        if table == "drift":
            return read_table(drift / "drift.parquet", POPULATION_COLUMNS)
        return _together(recordings, sources, table)

    record = {"study": name, "sources": sources}
    tags = {"study": name, "scale": config.scale}
    with Run(out, stage="study", config=record, seed=0, tags=tags) as run:
        tables = STUDIES[name](read)
        for file, table in tables.items():
            write_table(out / f"{file}.parquet", table)
        for drawing in study_drawings(tables, read("histograms")):
            svg.save(drawing, out)
        run.summary(_summary(tables))


def _together(recordings: Path, sources: Sequence[str], table: str) -> pd.DataFrame:
    columns = RECORDING_TABLES[table]
    parts = [read_table(recordings / name / f"{table}.parquet", columns) for name in sources]
    return pd.concat(parts, ignore_index=True)


def _summary(tables: Tables) -> dict[str, float]:
    """Return the numbers to look at first, for the record."""
    found = {}
    if "range" in tables:
        whole = tables["range"][tables["range"]["tensor"] == "all"]
        found |= {f"decades/{r.source}/{r.phase}": r.decades for r in whole.itertuples()}
    if "distances" in tables:
        between = f"{PHASES[0]} and {PHASES[-1]}"
        part = tables["distances"][tables["distances"]["compared"] == between]
        found |= {f"drift/{row.source}": row.distance for row in part.itertuples()}
    if "signal" in tables:
        part = tables["signal"][tables["signal"]["measure"] == "snr"]
        found |= {f"snr/{row.source}/{row.moment}": row.estimate for row in part.itertuples()}
    return found

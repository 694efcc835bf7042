"""The stage `study`: what recordings of gradients say, as tables and figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from l2o.files import read_table, write_table
from l2o.jobs.record import Run
from l2o.report import gradient_figures as figures
from l2o.report import svg
from l2o.report.svg import Drawing
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


def study(settings: Any, recordings: Path, drift: Path, out: Path) -> None:
    """Write the tables (parquet) and figures of a study, and ``run.json``, in ``out``.

    Args:
        settings: See :class:`l2o.stages.study.Settings`.
        recordings: Folder with a sub-folder of recordings per source.
        drift: Folder of the stage `drift`, for the study ``non_iid``.
        out: Folder of the results.

    Raises:
        ResultsError: A recording is missing or damaged.
    """
    name, sources = settings.study, list(settings.sources)

    def read(table: str) -> pd.DataFrame:
        if table == "drift":
            return read_table(drift / "drift.parquet", POPULATION_COLUMNS)
        return _together(recordings, sources, table)

    record = {"study": name, "sources": sources}
    tags = {"study": name, "scale": settings.scale}
    with Run(out, stage="study", config=record, seed=0, tags=tags) as run:
        tables = STUDIES[name](read)
        for file, table in tables.items():
            write_table(out / f"{file}.parquet", table)
        for drawing in drawings(tables, read("histograms")):
            svg.save(drawing, out)
        run.summary(_summary(tables))


def drawings(tables: Tables, histograms: pd.DataFrame) -> Iterator[Drawing]:
    """Yield the figures of a study.

    Args:
        tables: Its tables by name.
        histograms: Of all sources.
    """
    if "range" in tables:
        text = "Distribution of log10 |g| by phase, one panel per source"
        yield Drawing("gradient_range_magnitudes", figures.magnitudes(histograms), text)
        text = "Distribution of the gradient itself by phase, one panel per source"
        yield Drawing("gradient_range_values", figures.values(histograms), text)
    if "distances" in tables:
        text = "Distance between the distributions of log10 |g| of phases, and of agents"
        yield Drawing("gradient_change_distances", figures.distances(tables["distances"]), text)
        text = "How alike gradients some steps apart are"
        auto = figures.autocorrelations(tables["autocorrelation"])
        yield Drawing("gradient_change_autocorrelation", auto, text)
        text = "How far what an optimizer sees in meta-training is from all that there is to see"
        yield Drawing("gradient_change_drift", figures.drifts(tables["drift"]), text)
    if "signal" in tables:
        text = "Signal-to-noise ratio and noise scale of gradients along the lifetime"
        yield Drawing("gradient_noise_signal", figures.signals(tables["signal"]), text)


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

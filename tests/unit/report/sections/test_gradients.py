import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
from results_written import report_on

from l2o.files import write_table
from l2o.report.claims import claim_frame
from l2o.report.results import Gradients
from l2o.report.sections import gradients
from l2o.statistics.columns.gradients import (
    HISTOGRAM_COLUMNS,
    PHASES,
    RANGE_COLUMNS,
    SIGNAL_COLUMNS,
    STUDY_TABLES,
)


def test_claims_about_gradients(results):
    """The first source is of RL; the last one, digits, is not."""
    sources = list(results.config.analysis.sources)
    assert sources[-1] == "digits" and len(sources) == 3
    ranges = [
        (source, phase, "all", *[0.0] * 5, decades, decades - 0.5, decades + 0.5, 0.1, 5)
        for source, decades in zip(sources, (9.0, 5.0, 7.0), strict=True)
        for phase in PHASES
    ]
    signal = [
        (source, "beginning", measure, value, value - 0.1, value + 0.1, 64, 5)
        for source, scale in zip(sources, (80.0, 40.0, 40.0), strict=True)
        for measure, value in (("noise_scale", scale), ("bias_cosine", 0.7))
    ]
    made = {
        "range": pd.DataFrame(ranges, columns=list(RANGE_COLUMNS)),
        "signal": pd.DataFrame(signal, columns=list(SIGNAL_COLUMNS)),
    }
    results = dataclasses.replace(results, gradients=Gradients(made, pd.DataFrame(), None))
    (group,) = gradients.SECTION.claims(results)
    table = claim_frame(group.claims)
    verdicts = table["verdict"].tolist()
    wider, noisier, biased = ["supported", "not supported"], ["supported", "inconclusive"], 3
    assert verdicts == wider + noisier + ["supported"] * biased
    np.testing.assert_allclose(table["value"].iloc[-1], 0.3)
    np.testing.assert_allclose(table[["low", "high"]].iloc[-1].to_list(), [0.2, 0.4])


def write_study(root, study, sources):
    """Write a study's tables with one row, and what it is made from."""
    columns = {f"{study}/{name}": table for name, table in STUDY_TABLES[study].items()}
    columns |= {f"recordings/{source}/histograms": HISTOGRAM_COLUMNS for source in sources}
    texts = dict.fromkeys(("source", "phase", "tensor", "compared", "measure", "moment"), PHASES[0])
    texts["scheme"] = "staggered"
    for place, names in columns.items():
        row = {name: texts.get(name, 1.0) for name in names}
        write_table(root / f"analysis/{place}.parquet", pd.DataFrame([row]))
        shutil.copy(root / "select/run.json", (root / f"analysis/{place}").parent / "run.json")


@pytest.mark.parametrize("study", STUDY_TABLES)
def test_each_study_is_shown_without_the_others(root, without_figures, study, results):
    write_study(root, study, results.config.analysis.sources)
    # Another one is at work: it has begun to write.
    other = next(name for name in STUDY_TABLES if name != study)
    (root / "analysis" / other).mkdir()
    (root / "analysis" / other / "metrics.jsonl").touch()
    report_on(root, root / "report.html")
    page = (root / "report.html").read_text(encoding="utf-8")
    anchors = {name: f'<h3 id="gradients-{name.replace("_", "-")}"' for name in STUDY_TABLES}
    assert [name for name, anchor in anchors.items() if anchor in page] == [study]

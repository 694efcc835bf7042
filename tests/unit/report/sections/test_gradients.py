import dataclasses

import numpy as np
import pandas as pd

from l2o.report.claims import claim_frame
from l2o.report.results import Gradients
from l2o.report.sections import gradients
from l2o.statistics.columns.gradients import PHASES, RANGE_COLUMNS, SIGNAL_COLUMNS


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

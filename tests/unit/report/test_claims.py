import numpy as np
import pandas as pd
import pytest

from l2o.report.claims import Claim, Measured, judge
from l2o.statistics.columns.comparisons import CLAIM_COLUMNS


def test_every_claim_has_a_verdict_by_rule(reported, results):
    table = pd.read_parquet(reported / "claims.parquet")
    assert list(table.columns) == list(CLAIM_COLUMNS)
    claims = table.set_index("claim")["verdict"]
    start = "The champion trains better than"
    task = results.training_tasks[0]
    assert claims[f"{start} untrained initialisation on {task}."] == "supported"
    assert claims[f"{start} Adam on {task}."] == "not supported"
    assert claims[f"{start} RMSProp on {task}."] == "inconclusive"
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    for row in table.itertuples():
        value = Measured(row.value, row.low, row.high)
        against = Measured(row.against, row.against_low, row.against_high)
        assert row.verdict == judge(value, against).status


@pytest.mark.parametrize(
    ("value", "against", "expected"),
    [
        ((3, 2, 4), (1, 1, 1), "supported"),
        ((3, 2, 4), (5, 4.5, 6), "not supported"),
        ((3, 2, 4), (4, 3.5, 6), "inconclusive"),
        ((3, 2, 4), (2, 1, 2), "inconclusive"),
        ((3, np.nan, np.nan), (1, 1, 1), "inconclusive"),
        ((3, 2, 4), (1, np.nan, np.nan), "inconclusive"),
    ],
)
def test_verdicts_follow_from_intervals(value, against, expected):
    claim = Claim("a", "b", Measured(*value), Measured(*against), 3)
    assert claim.verdict.status == expected

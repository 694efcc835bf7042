import json
import re

import pandas as pd
import pytest
from results_written import load_results, report_on

from l2o.errors import ResultsError
from l2o.files import write_table


@pytest.mark.parametrize(
    "name",
    [
        "baselines/catch/curves.parquet",
        "meta_train/linear/seed_0/metrics.parquet",
        "select/scores.parquet",
        "ablations/inductive_bias/summary.parquet",
        "transfer_summary/profiles.parquet",
    ],
)
def test_damaged_table_is_named(root, name):
    (root / name).write_bytes((root / name).read_bytes()[:-100])
    with pytest.raises(ResultsError, match=re.escape(str(root / name))):
        report_on(root, root / "report.html")
    assert not (root / "report.html").exists()


@pytest.mark.parametrize(
    "name",
    ["select/champion.json", "select/run.json", "transfer/inverted_double_pendulum/curves.parquet"],
)
def test_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(ResultsError, match=re.escape(str(root / name))):
        report_on(root, root / "report.html")


def test_incomplete_record_is_named(root):
    path = root / "select" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: record[key] for key in record if key != "timings"}))
    with pytest.raises(ResultsError, match="timings"):
        load_results(root)


def test_table_of_another_version_is_named(root):
    path = root / "ablations" / "inductive_bias" / "effects.parquet"
    write_table(path, pd.read_parquet(path).rename(columns={"level": "variant"}))
    with pytest.raises(ResultsError, match=r"level: it was written by another version; delete it"):
        load_results(root)

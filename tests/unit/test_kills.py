"""Kills with every estimator that has no gradient; those with one are in ``test_resume``."""

import pytest
from killing import Workplace, assert_same_results, record

pytestmark = pytest.mark.slow
ESTIMATORS = {
    "truncated_es": "return",
    "pes": "mean_return",
    "full_es": "lifetime_return",
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_killed_runs_end_alike(tmp_path, estimator):
    place = Workplace(tmp_path)
    changes = {
        "estimator": estimator,
        "objective": ESTIMATORS[estimator],
        "sigma": 0.3,
        "reset_interval": 3,
    }
    whole = place.train(f"{estimator}_whole", **changes)
    name = f"{estimator}_killed"
    for kill in (("before", "log", "6"), ("after", "save", "8"), ("before", "log", "12")):
        place.train(name, kill, **changes)
    out = place.train(name, **changes)
    assert_same_results(out, whole)
    assert record(out)["resumed_from"] == 8

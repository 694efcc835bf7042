"""Kills with every estimator that has no gradient; those with one are in ``test_resume``."""

import os
import random
import shutil
import time

import pytest
from killing import Workplace, assert_same_results, record

pytestmark = [pytest.mark.long, pytest.mark.slow]
ESTIMATORS = {
    "truncated_es": "return",
    "pes": "mean_return",
    "full_es": "lifetime_return",
}
KILLS = int(os.environ.get("L2O_KILLS", "0"))


def recipe(estimator):
    chosen = {"estimator": estimator, "objective": ESTIMATORS.get(estimator, "actor")}
    return chosen | {"sigma": 0.3, "reset_interval": 3}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_killed_runs_end_alike(tmp_path, estimator):
    place, changes = Workplace(tmp_path), recipe(estimator)
    whole = place.train(f"{estimator}_whole", **changes)
    name = f"{estimator}_killed"
    place.train(name, ("after", "save", "8"), **changes)
    out = place.train(name, **changes)
    assert_same_results(out, whole)
    assert record(out)["resumed_from"] == 8


@pytest.mark.skipif(not KILLS, reason="takes minutes: L2O_KILLS=10 for ten kills each")
@pytest.mark.parametrize("estimator", ["truncated_gradient", *ESTIMATORS])
def test_killed_at_random_moments(tmp_path, estimator):
    place, changes = Workplace(tmp_path), recipe(estimator)
    place.train("warm_up", **changes)  # compiles
    started = time.monotonic()
    whole = place.train("whole", **changes)
    seconds = time.monotonic() - started
    moments, kills, out = random.Random(estimator), 0, tmp_path / "killed"
    while kills < KILLS:
        if place.train_until(moments.uniform(0.2, 1.0) * seconds, "killed", **changes):
            kills += 1
        else:  # it was faster: once more from the beginning
            assert_same_results(out, whole)
            shutil.rmtree(out)
    place.train("killed", **changes)
    assert_same_results(out, whole)
    print(f"{estimator}: {kills} kills")

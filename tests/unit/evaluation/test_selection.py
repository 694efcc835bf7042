import numpy as np
import pandas as pd
import pytest

from l2o.errors import ResultsError
from l2o.evaluation.selection import normalised_scores


def finals(rows, columns=("optimizer", "learning_rate", "final"), task="a"):
    return pd.DataFrame(rows, columns=list(columns)).assign(task=task)


def checkpoints(values, task="a"):
    rows = [(f"step_{step:06d}", x) for step, xs in values.items() for x in xs]
    return finals(rows, ("optimizer", "final"), task)


def reference(adam, random):
    rows = [("adam", x) for x in adam] + [("random", x) for x in random]
    return pd.DataFrame(rows, columns=["optimizer", "final"])


def scores(values, adam, random):
    table = normalised_scores(checkpoints(values), reference(adam, random))
    steps = table["optimizer"].str.removeprefix("step_").astype(int)
    return dict(zip(steps, table["score"], strict=True))


def test_scores_are_zero_for_a_random_policy_and_one_for_adam():
    values = {0: [1.0, 1.2, 0.8], 40: [5.0, 5.2, 4.8], 120: [9.0, 9.2, 8.8], 80: [3, 3, 3]}
    table = normalised_scores(checkpoints(values), reference([4.9, 5.0, 5.1], [1.0] * 3))
    assert table["optimizer"].tolist() == [f"step_{step:06d}" for step in (0, 40, 80, 120)]
    assert table["score"].tolist() == pytest.approx([0.0, 1.0, 0.5, 2.0])
    assert table["final"].tolist() == pytest.approx([1, 5, 3, 9])
    assert table["seeds"].tolist() == [3] * 4
    se = 0.2 / np.sqrt(3)
    assert table["se"].tolist() == pytest.approx([se, se, 0, se])


@pytest.mark.parametrize("adam", [[1.0, 1.2, 0.8], [-5.0, -5.2, -4.8]])
def test_unit_is_at_least_the_standard_error(adam):
    """Where Adam is no better than a random policy, scores are in units of noise."""
    found = scores({10: [2.0, 2.0, 2.0]}, adam, [1.0, 1.2, 0.8])
    assert found[10] == pytest.approx(1.0 / np.hypot(0.2, 0.2) * np.sqrt(3))


def test_unit_is_never_zero():
    found = scores({10: [2.0] * 3}, [1.0] * 3, [1.0] * 3)
    assert np.isfinite(found[10]) and found[10] > 0
    # No standard errors from one seed.
    assert scores({0: [1.0], 10: [2.0]}, [3.0], [1.0]) == {0: 0.0, 10: 0.5}


def test_diverged_checkpoint_scores_minus_infinity():
    values = {0: [1.0, 1.0, 1.0], 10: [50.0, np.nan, 50.0], 20: [2.0, 2.0, 2.0]}
    found = scores(values, [3.0] * 3, [1.0] * 3)
    assert found == {0: 0.0, 10: -np.inf, 20: 0.5}


@pytest.mark.parametrize(
    ("adam", "random", "message"),
    [([], [1.0], "'adam' is missing"), ([2.0], [np.nan], "'random' has diverged")],
)
def test_no_scores_without_what_they_are_measured_by(adam, random, message):
    with pytest.raises(ResultsError, match=message):
        scores({0: [1.0]}, adam, random)

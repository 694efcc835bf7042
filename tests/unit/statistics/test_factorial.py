import numpy as np
import pandas as pd

from l2o.statistics.columns.comparisons import FACTOR_COLUMNS
from l2o.statistics.factorial import contrasts, factor_rows

FACTORS = {"a": ["both", "only_a"], "b": ["both", "only_b"]}
RECIPES = ["both", "only_a", "only_b", "neither"]


def test_contrasts() -> None:
    found = contrasts(FACTORS, RECIPES)
    np.testing.assert_array_equal(found["a"], [0.5, 0.5, -0.5, -0.5])
    np.testing.assert_array_equal(found["b"], [0.5, -0.5, 0.5, -0.5])
    np.testing.assert_array_equal(found["a x b"], [0.5, -0.5, -0.5, 0.5])


def test_effects_of_known_scores() -> None:
    """Each factor alone adds 1; together they add 4."""
    rng = np.random.default_rng(0)
    levels = dict(zip(RECIPES, (4.0, 1.0, 1.0, 0.0), strict=True))
    scores = {name: value + 0.1 * rng.normal(size=(3, 4, 2)) for name, value in levels.items()}
    rows = pd.DataFrame(factor_rows("training", FACTORS, scores), columns=[*FACTOR_COLUMNS])
    rows = rows.set_index("term")
    np.testing.assert_allclose(rows.loc[["a", "b"], "effect"], 2.0, atol=0.1)
    np.testing.assert_allclose(rows.loc["a x b", "effect"], 1.0, atol=0.1)
    assert (rows["low"] > 0).all() and (rows["recipes"] == 4).all()

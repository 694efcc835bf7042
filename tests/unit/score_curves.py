"""Learning curves on several tasks, to be scored."""

import numpy as np
import pandas as pd

from l2o.statistics.columns.evaluation import CURVE_COLUMNS

POINTS = 4
OPTIMIZERS = ("champion", "adam", "random")


def make_curves(task="a", steps=100, **finals):
    """Curves that rise evenly to their final returns, one per seed; NaN from the third point on."""
    rows = []
    for label, values in finals.items():
        for seed, final in enumerate(values):
            for point in range(1, POINTS + 1):
                share = 1.0 if label == "random" else point / POINTS
                value = final * share if np.isfinite(final) or point > 2 else 8.0 * share
                rate = np.nan if label == "random" else 0.1
                rows.append((task, label, rate, seed, point, point * steps, value, 10.0))
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def noisy(task="a", seeds=5, labels=OPTIMIZERS, **levels):
    rng = np.random.default_rng(len(task))
    levels = {"champion": 9.0, "adam": 8.0, "random": 1.0} | levels
    drawn = {label: levels.get(label, 5.0) + rng.normal(size=seeds) for label in labels}
    return make_curves(task, **(drawn | {"random": [1.0] * seeds}))

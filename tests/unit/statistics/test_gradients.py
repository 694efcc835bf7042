import numpy as np
import pandas as pd
from scipy import stats

from l2o.statistics import gradients
from l2o.statistics.columns.gradients import BIN_WIDTH


def histogram_of(log10: np.ndarray, **columns: object) -> pd.DataFrame:
    edges, counts = np.unique(np.floor(log10 / BIN_WIDTH + 1e-9).astype(int), return_counts=True)
    return pd.DataFrame({"exponent": np.round(edges * BIN_WIDTH, 6), "count": counts, **columns})


def test_quantiles_and_distances_agree_with_the_samples() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(-4, 1, 20_000), rng.normal(-3, 2, 20_000)
    for share in (0.001, 0.5, 0.999):
        found = gradients.quantile(histogram_of(x), share)
        assert abs(found - np.quantile(x, share)) < BIN_WIDTH
    shares = [gradients.density(histogram_of(v)) for v in (x, y)]
    found = gradients.wasserstein(
        *(s.set_axis(s.index - BIN_WIDTH / 2) * BIN_WIDTH for s in shares)
    )
    assert abs(found - stats.wasserstein_distance(x, y)) < 0.02
    assert gradients.wasserstein(shares[0], shares[0]) < 1e-12


def test_drift_is_small_only_where_all_ages_are_seen() -> None:
    rng = np.random.default_rng(5)
    frames = []
    for scheme, center in (("staggered", lambda _: -2.5), ("synchronous", lambda t: -2.0 - t % 2)):
        for population in range(3):
            for step in range(8):
                spread = 0.5 if scheme == "staggered" else 0.1
                x = rng.normal(center(step), spread, 500)
                columns = {"scheme": scheme, "population": population, "outer_step": step}
                frames.append(histogram_of(x, **columns))
    table = gradients.drifts(pd.concat(frames, ignore_index=True))
    late = table[table["outer_step"] >= 4].groupby("scheme")["distance"].mean()
    assert late["staggered"] < 0.1 < 0.4 < late["synchronous"]
    assert (table["low"] <= table["distance"]).all() and (table["populations"] == 3).all()

"""What recorded gradients say: range, drift and noise, with intervals over agents.

Imports no jax. Wasserstein distances are exact up to the width of a bin.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from l2o.errors import ResultsError
from l2o.statistics.bootstrap import agent_estimate, mean_estimate
from l2o.statistics.columns.gradients import (
    AUTOCORRELATION_COLUMNS,
    BIN_WIDTH,
    DISTANCE_COLUMNS,
    DRIFT_COLUMNS,
    PHASES,
    RANGE_COLUMNS,
    SIGNAL_COLUMNS,
    VARIANCE_COLUMNS,
)

QUANTILES = {"q001": 0.001, "q01": 0.01, "median": 0.5, "q99": 0.99, "q999": 0.999}


def ranges(histograms: pd.DataFrame, tensors: pd.DataFrame) -> pd.DataFrame:
    """Return how wide gradients are spread; see ``RANGE_COLUMNS``.

    Args:
        histograms: See :data:`l2o.statistics.columns.gradients.HISTOGRAM_COLUMNS`; any number
            of sources.
        tensors: See :data:`l2o.statistics.columns.gradients.TENSOR_COLUMNS`.
    """
    rows = []
    for (source, phase, tensor), part in _with_all(histograms).groupby(
        ["source", "phase", "tensor"], sort=False
    ):
        pooled = [quantile(part, share) for share in QUANTILES.values()]
        spans = [
            quantile(agent, QUANTILES["q999"]) - quantile(agent, QUANTILES["q001"])
            for _, agent in part.groupby("agent")
        ]
        counts = tensors[(tensors["source"] == source) & (tensors["phase"] == phase)]
        if tensor != "all":
            counts = counts[counts["tensor"] == tensor]
        zeros = counts["zeros"].sum() / max(counts["values"].sum(), 1)
        rows.append((source, phase, tensor, *pooled, *mean_estimate(spans), zeros, len(spans)))
    return _sorted(pd.DataFrame(rows, columns=list(RANGE_COLUMNS)), "phase")


def distances(histograms: pd.DataFrame) -> pd.DataFrame:
    """Return how far distributions of log10 |g| are apart; see ``DISTANCE_COLUMNS``."""
    rows = []
    for source, part in histograms.groupby("source", sort=False):
        agents = sorted(part["agent"].unique())
        by = {key: _shares(p) for key, p in part.groupby(["agent", "phase"])}
        for a, b in itertools.combinations(PHASES, 2):
            found = [wasserstein(by[agent, a], by[agent, b]) for agent in agents]
            rows.append((source, f"{a} and {b}", *mean_estimate(found), len(agents)))
        for phase in PHASES:
            shares = [by[agent, phase] for agent in agents]
            apart = np.array([[wasserstein(x, y) for y in shares] for x in shares])

            def mean(chosen: np.ndarray, apart: np.ndarray = apart) -> float:
                pairs = [apart[i, j] for i, j in itertools.combinations(chosen, 2) if i != j]
                return float(np.mean(pairs)) if pairs else 0.0

            row = (source, f"two agents, {phase}", *agent_estimate(mean, len(agents)), len(agents))
            rows.append(row)
    return pd.DataFrame(rows, columns=list(DISTANCE_COLUMNS))


def variances(histograms: pd.DataFrame) -> pd.DataFrame:
    """Return variances of log10 |g| within and between agents; see ``VARIANCE_COLUMNS``."""
    rows = []
    for (source, phase), part in histograms.groupby(["source", "phase"], sort=False):
        moments = [_moments(agent) for _, agent in part.groupby("agent")]
        means, within = np.array(moments).T
        between = means.var(ddof=1) if len(means) > 1 else np.nan
        rows.append((source, phase, within.mean(), between, len(means)))
    return _sorted(pd.DataFrame(rows, columns=list(VARIANCE_COLUMNS)), "phase")


def autocorrelations(time: pd.DataFrame) -> pd.DataFrame:
    """Return how alike gradients some steps apart are; see ``AUTOCORRELATION_COLUMNS``.

    Args:
        time: See :data:`l2o.statistics.columns.gradients.TIME_COLUMNS`.
    """
    rows = []
    for (source, phase, lag), part in time.groupby(["source", "phase", "lag"], sort=False):
        for name in ("cosine", "correlation"):
            known = part[name].dropna()
            if len(known):
                rows.append((source, phase, lag, name, *mean_estimate(known), len(known)))
    return pd.DataFrame(rows, columns=list(AUTOCORRELATION_COLUMNS))


def signals(noise: pd.DataFrame) -> pd.DataFrame:
    """Return signal-to-noise ratios and the bias of gradients; see ``SIGNAL_COLUMNS``.

    Ratios are of means over agents: the signal of a single one may come out negative.

    Args:
        noise: See :data:`l2o.statistics.columns.gradients.NOISE_COLUMNS`.
    """
    rows = []
    whole = noise[noise["tensor"] == "all"]
    for (source, moment), part in whole.groupby(["source", "moment"], sort=False):
        signal, trace = part["signal"].to_numpy(float), part["noise"].to_numpy(float)
        examples, agents = int(part["examples"].iloc[0]), len(part)

        def snr(chosen: np.ndarray, signal: np.ndarray = signal, trace: np.ndarray = trace):
            return float(signal[chosen].mean() / max(trace[chosen].mean(), 1e-30))

        estimate, low, high = agent_estimate(snr, agents)
        inverse = [examples / x if x > 0 else np.nan for x in (estimate, high, low)]
        measures = {"snr": (estimate, low, high), "noise_scale": tuple(inverse)}
        for name in ("clear", "bias_cosine"):
            if not part[name].isna().any():
                measures[name] = mean_estimate(part[name])
        rows += [(source, moment, name, *ends, examples, agents) for name, ends in measures.items()]
    return _sorted(pd.DataFrame(rows, columns=list(SIGNAL_COLUMNS)), "moment")


def drifts(drift: pd.DataFrame) -> pd.DataFrame:
    """Return how what an optimizer sees in meta-training changes; see ``DRIFT_COLUMNS``.

    Args:
        drift: See :data:`l2o.statistics.columns.gradients.POPULATION_COLUMNS`.
    """
    late = drift["outer_step"] >= drift["outer_step"].max() / 2
    rows = []
    references = {
        population: _shares(part)
        for population, part in drift[late & (drift["scheme"] == "staggered")].groupby("population")
    }
    for (scheme, step), part in drift.groupby(["scheme", "outer_step"], sort=False):
        own = {population: p for population, p in part.groupby("population")}
        found = [wasserstein(_shares(p), references[i]) for i, p in own.items()]
        median = float(np.mean([quantile(p, 0.5) for p in own.values()]))
        rows.append((scheme, step, *mean_estimate(found), median, len(found)))
    return pd.DataFrame(rows, columns=list(DRIFT_COLUMNS))


def _range(read: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {"range": ranges(read("histograms"), read("tensors"))}


def _non_iid(read: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    histograms = read("histograms")
    return {
        "distances": distances(histograms),
        "variances": variances(histograms),
        "autocorrelation": autocorrelations(read("time")),
        "drift": drifts(read("drift")),
    }


def _noise(read: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {"signal": signals(read("noise"))}


_STUDIES = {"range": _range, "non_iid": _non_iid, "noise": _noise}


def study_tables(study: str, read: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables of a study; see :data:`l2o.statistics.columns.gradients.STUDY_TABLES`.

    Args:
        study: One of :data:`l2o.choices.STUDIES`.
        read: Returns a table of what was recorded, by its name, of all sources.
    """
    return _STUDIES[study](read)


def study_summary(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the numbers to look at first, for the record."""
    found = {}
    if "range" in tables:
        whole = tables["range"][tables["range"]["tensor"] == "all"]
        found |= {f"decades/{r.source}/{r.phase}": r.decades for r in whole.itertuples()}
    if "distances" in tables:
        between = f"{PHASES[0]} and {PHASES[-1]}"
        part = tables["distances"][tables["distances"]["compared"] == between]
        found |= {f"drift/{row.source}": row.distance for row in part.itertuples()}
    if "signal" in tables:
        part = tables["signal"][tables["signal"]["measure"] == "snr"]
        found |= {f"snr/{row.source}/{row.moment}": row.estimate for row in part.itertuples()}
    return found


def quantile(histogram: pd.DataFrame, share: float) -> float:
    """Return a quantile of log10 |g|, linear within a bin."""
    counts = histogram.groupby("exponent")["count"].sum().sort_index()
    total = np.concatenate([[0], counts.cumsum()])
    edges = counts.index.to_numpy(float)
    where = min(int(np.searchsorted(total, share * total[-1], side="right")) - 1, len(counts) - 1)
    inside = (share * total[-1] - total[where]) / counts.iloc[where]
    return float(edges[where] + BIN_WIDTH * min(inside, 1.0))


def wasserstein(a: pd.Series, b: pd.Series) -> float:
    """Return the Wasserstein-1 distance of two histograms with shares by lower edge, in decades."""
    edges = sorted({*a.index, *b.index})
    grid = np.arange(round(edges[0] / BIN_WIDTH), round(edges[-1] / BIN_WIDTH) + 1)
    difference = np.zeros(len(grid))
    for sign, shares in ((1, a), (-1, b)):
        place = np.rint(shares.index.to_numpy(float) / BIN_WIDTH).astype(int) - grid[0]
        np.add.at(difference, place, sign * shares.to_numpy(float))
    return float(np.abs(np.cumsum(difference)).sum() * BIN_WIDTH)


def density(histogram: pd.DataFrame) -> pd.Series:
    """Return the share of values that are not zero per decade, by the middle of each bin."""
    shares = _shares(histogram)
    return pd.Series(shares.to_numpy() / BIN_WIDTH, index=shares.index + BIN_WIDTH / 2)


def _shares(histogram: pd.DataFrame) -> pd.Series:
    counts = histogram.groupby("exponent")["count"].sum().sort_index()
    if counts.empty or not counts.sum():
        raise ResultsError("a recording holds no gradient that is not zero.")
    return counts / counts.sum()


def _moments(histogram: pd.DataFrame) -> tuple[float, float]:
    """Return mean and variance of log10 |g|."""
    shares = _shares(histogram)
    x = shares.index.to_numpy(float) + BIN_WIDTH / 2
    mean = float(shares @ x)
    return mean, float(shares @ (x - mean) ** 2)


def _with_all(histograms: pd.DataFrame) -> pd.DataFrame:
    """Add all tensors together, as one that is called all."""
    keys = ["source", "agent", "phase", "exponent"]
    together = histograms.groupby(keys, sort=False)["count"].sum().reset_index()
    return pd.concat([together.assign(tensor="all"), histograms], ignore_index=True)


def _sorted(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Order rows by time; sources and tensors stay in the order in which they come."""
    rank = {name: i for i, name in enumerate(PHASES)}
    first = {name: i for i, name in enumerate(dict.fromkeys(table["source"]))}
    order = table.assign(_a=table["source"].map(first), _b=table[column].map(rank))
    return order.sort_values(["_a", "_b"], kind="stable", ignore_index=True)[list(table.columns)]

"""Bootstrap intervals, and statistics with theirs. Imports no jax.

- Of a mean, or of any statistic of agents: over agents.
- Stratified, of scores on several tasks: over the agents of each task, by rliable; Agarwal et al.,
  "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
- Nested, of recipes: over meta-training runs, then over the agents of each. Agents that one
  meta-trained optimizer trained say what that optimizer does, not what its recipe does again. The
  interval is widened for there being so few runs.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import special

from l2o.errors import ResultsError

MIN_SEEDS = 3
"""Fewer observations give no interval."""
RESAMPLES = 2_000
"""Bootstrap samples of an interval; rliable's own choice for performance profiles."""
_SEED = 0

Scores = np.ndarray | Sequence[np.ndarray]
Statistic = Callable[..., np.ndarray]


def mean_interval(
    values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean.

    Args:
        values: Independent observations, for example final returns of seeds.
        level: Coverage.
        resamples: Bootstrap samples.
        seed: Of the resampling: the same data give the same interval.

    Raises:
        ResultsError: Fewer than three observations, too few for an interval.
    """
    values = np.asarray(values, float)
    if len(values) < MIN_SEEDS:
        raise ResultsError(f"an interval needs at least {MIN_SEEDS} seeds; got {len(values)}.")
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (resamples, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_estimate(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean and its 95% interval, NaN for too few values."""
    values = np.asarray(values, float)
    enough = len(values) >= MIN_SEEDS
    return float(values.mean()), *(mean_interval(values) if enough else (np.nan, np.nan))


def agent_estimate(
    statistic: Callable[[np.ndarray], float], agents: int, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return a statistic of agents and its 95% percentile interval, NaN for too few agents.

    Args:
        statistic: Takes the numbers of the agents that it is of, some of them several times.
        agents: How many there are.
        resamples: Bootstrap samples.
    """
    estimate = statistic(np.arange(agents))
    if agents < MIN_SEEDS:
        return estimate, np.nan, np.nan
    draws = np.random.default_rng(_SEED).integers(0, agents, (resamples, agents))
    low, high = np.quantile([statistic(draw) for draw in draws], [0.025, 0.975])
    return estimate, float(low), float(high)


def stratified_interval(
    scores: Scores, statistic: Statistic, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of a statistic over stratified bootstrap samples.

    Seeds are resampled within each task; the tasks stay as they are.

    Args:
        scores: ``[seeds, tasks, ...]``, or several such arrays, which are resampled independently.
        statistic: Takes the array or arrays, returns ``[values]``.
        resamples: Bootstrap samples.
        level: Coverage.

    Returns:
        Lower and upper ends, each ``[values]``. Equal scores give equal ends.

    Raises:
        ResultsError: Fewer than three seeds, too few for an interval.
    """
    seeds = _fewest_seeds(scores)
    if seeds < MIN_SEEDS:
        raise ResultsError(f"an interval needs at least {MIN_SEEDS} seeds; got {seeds}.")
    library = _library()
    given = scores if isinstance(scores, np.ndarray) else list(scores)
    with _seeded():
        _, intervals = library.get_interval_estimates(
            {"": given}, statistic, reps=resamples, confidence_interval_size=level
        )
    low, high = intervals[""]
    return low, high


def stratified_estimate(
    scores: Scores, statistic: Statistic, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a statistic and the ends of its 95% interval, which are NaN for too few seeds.

    Args:
        scores: See :func:`stratified_interval`.
        statistic: Takes the array or arrays, returns ``[values]``.
        resamples: Bootstrap samples.
    """
    arrays = [scores] if isinstance(scores, np.ndarray) else scores
    values = np.asarray(statistic(*arrays), float)
    if _fewest_seeds(scores) < MIN_SEEDS:
        return values, np.full_like(values, np.nan), np.full_like(values, np.nan)
    return values, *stratified_interval(scores, statistic, resamples)


def _fewest_seeds(scores: Scores) -> int:
    return len(scores) if isinstance(scores, np.ndarray) else min(map(len, scores))


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Fix the resampling, and leave NumPy's global generator as it was.

    rliable 1.2 draws from the global generator; the ``random_state`` that it takes has no effect.
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(_SEED)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _library() -> types.ModuleType:
    """Import ``rliable.library``.

    It needs ``arch.bootstrap`` alone, and arch before version 8. The top of that package also
    imports time series models, which fail with pandas 3; an empty package stands in for it while
    the bootstrap is imported.
    """
    if "rliable.library" in sys.modules or "arch" in sys.modules:
        return importlib.import_module("rliable.library")
    found = importlib.util.find_spec("arch")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'arch', which rliable needs", name="arch")
    hollow = types.ModuleType("arch")
    hollow.__path__ = list(found.submodule_search_locations)
    sys.modules["arch"] = hollow
    try:
        return importlib.import_module("rliable.library")
    finally:
        del sys.modules["arch"]


def nested_estimate(
    scores: Sequence[np.ndarray], statistic: Statistic, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return a statistic and its 95% interval by a bootstrap on two levels.

    A sample draws as many meta-training runs as there are, then as many agents within each, apart
    on every task. The percentile interval of its values is stretched about the estimate by
    ``t / 1.96 * sqrt(n / (n - 1))``, with ``n`` the fewest runs of an array and ``t`` the 97.5%
    quantile of Student's t distribution: a bootstrap of n values has a variance too small by
    ``(n - 1) / n``, and n values know it poorly. Normal runs are then covered as promised.

    Args:
        scores: One or several arrays ``[runs, agents, tasks]``, resampled independently.
        statistic: Takes arrays ``[samples, runs * agents, tasks]``, returns ``[samples]``.
        resamples: Bootstrap samples.

    Returns:
        The statistic, and the ends of its interval: NaN with fewer than three runs.
    """
    value = float(statistic(*(_flat(part[None]) for part in scores))[0])
    fewest = min(len(part) for part in scores)
    if fewest < MIN_SEEDS:
        return value, np.nan, np.nan
    rng = np.random.default_rng(_SEED)
    drawn = statistic(*(_flat(_resample(part, resamples, rng)) for part in scores))
    low, high = np.quantile(drawn, [0.025, 0.975])
    freedom = sum(len(part) - 1 for part in scores)
    student, normal = special.stdtrit(freedom, 0.975), special.ndtri(0.975)
    stretch = student / normal * np.sqrt(fewest / (fewest - 1))
    return value, float(value - stretch * (value - low)), float(value + stretch * (high - value))


def _resample(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``[samples, runs, agents, tasks]``."""
    runs, agents, tasks = scores.shape
    run = rng.integers(runs, size=(resamples, runs, 1, 1))
    agent = rng.integers(agents, size=(resamples, runs, agents, tasks))
    return scores[run, agent, np.arange(tasks)]


def _flat(scores: np.ndarray) -> np.ndarray:
    samples, runs, agents, tasks = scores.shape
    return scores.reshape(samples, runs * agents, tasks)

"""Stratified bootstrap intervals, by rliable.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
"""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from l2o.errors import ResultsError
from l2o.statistics.returns import MIN_SEEDS

RESAMPLES = 2_000
"""Bootstrap samples of an interval; rliable's own choice for performance profiles."""
_SEED = 0

Scores = np.ndarray | Sequence[np.ndarray]
Statistic = Callable[..., np.ndarray]


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


def estimate(
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

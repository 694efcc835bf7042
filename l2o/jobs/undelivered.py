"""How many deliveries of the pipeline were incomplete; the Snakefile asks."""

from pathlib import Path

from l2o.errors import ResultsError
from l2o.files import read_json, write_json

# Not a part of the delivery's report, which Snakemake deletes before the next one.
_FAILURES = ".undelivered.json"


def failed_deliveries(results_dir: str | Path) -> int:
    """Return how many deliveries of the pipeline left something undelivered.

    It grows with every one that does, so a workflow that compares it with what it was before the
    last delivery knows whether to deliver again. It never shrinks.

    Args:
        results_dir: Folder of all results.
    """
    try:
        count = read_json(Path(results_dir) / _FAILURES)
    except (ResultsError, OSError):
        return 0
    return count if isinstance(count, int) else 0


def note_failed_delivery(results_dir: str | Path) -> None:
    """Count one more delivery that left something undelivered."""
    write_json(Path(results_dir) / _FAILURES, failed_deliveries(results_dir) + 1)

"""The claims about the test tasks."""

from collections.abc import Iterator

from l2o.report.champion import champion_claims
from l2o.report.claims import Group
from l2o.report.results import Results
from l2o.report.text import listing


def claims(results: Results) -> Iterator[Group]:
    """Yield a group for every test task."""
    for task, evaluation in results.transfer.items():
        tuned_on = listing(results.config.transfer.tuning_tasks)
        note = (
            "Never seen in meta-training or selection. Every optimizer, the champion and its "
            "untrained initialisation included, has its learning rate tuned on "
            f"{tuned_on} with the same budget."
        )
        yield champion_claims(f"Transfer to the test task {task}", note, task, evaluation.curves)

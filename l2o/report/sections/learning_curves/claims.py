"""The claims about the meta-training tasks."""

from collections.abc import Iterator

from l2o.report.champion import champion_claims
from l2o.report.claims import Group
from l2o.report.results import Results

_NOTE = (
    "The champion runs at the inner learning rate of its meta-training, untuned here; the "
    "classical optimizers are tuned on this task."
)


def claims(results: Results) -> Iterator[Group]:
    """Yield a group for every meta-training task on which optimizers were evaluated."""
    for task in results.training_tasks:
        curves = results.toy_curves(task)
        if not curves.empty:
            yield champion_claims(f"On the meta-training task {task}", _NOTE, task, curves)

"""The figures of the toy tasks."""

from collections.abc import Iterator

from l2o.report.drawing.curves import learning_curves
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results


def drawings(results: Results) -> Iterator[Drawing]:
    """Yield the learning curves on every toy task."""
    for task in results.config.toy_evaluation_tasks:
        curves = results.toy_curves(task)
        if not curves.empty:
            figure = learning_curves(curves, f"{task} ({results.role(task)})")
            yield Drawing(f"toy_{task}", figure, f"Learning curves on {task}")

"""The figures of meta-training."""

from collections.abc import Iterator

from l2o.report.drawing.curves import training_curves
from l2o.report.drawing.style import recipe_lines
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results


def drawings(results: Results) -> Iterator[Drawing]:
    """Yield the population's return on every task, and the norm of the meta-gradient."""
    if not results.meta_training:
        return
    # Those of longer ablations have figures of their own.
    usual = results.config.usual_recipes
    metrics = results.metrics_over_seeds({recipe: recipe for recipe in usual})
    lines = recipe_lines(list(metrics), results.config.select.recipe)
    columns = dict.fromkeys(
        column for table in metrics.values() for column in table if column.endswith("/return")
    )
    for column in columns:
        title = f"Population return on {column.removesuffix('/return')}"
        figure = training_curves(metrics, column, lines, title, "return")
        name = f"meta_return_{column.removesuffix('/return')}"
        yield Drawing(name, figure, f"{title}, per recipe")
    title = "Norm of the meta-gradient"
    figure = training_curves(metrics, "meta_gradient_norm", lines, title, "norm", log=True)
    yield Drawing("meta_gradient_norm", figure, f"{title}, per recipe")

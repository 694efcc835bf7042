"""Every figure of the report, by section."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from l2o.report import figures, gradient_figures, gradient_studies, gradient_tables, svg
from l2o.report.results import Results
from l2o.report.sections import SECTIONS
from l2o.report.style import recipe_lines
from l2o.report.svg import Drawing
from l2o.report.transfer_summary import summary_drawings


def save_drawings(run: Results, folder: Path) -> dict[str, Markup]:
    """Write the figures, a folder for each section, and remove those of an earlier report.

    Args:
        run: What they show.
        folder: Gets the folders ``SECTIONS``, of which those of stages that were not run are empty.

    Returns:
        The figures as inline SVG, by name.
    """
    drawn, written = {}, set()
    for section in SECTIONS:
        (folder / section).mkdir(parents=True, exist_ok=True)
        for drawing in _DRAWINGS[section](run):
            drawn[drawing.name] = svg.save(drawing, folder / section)
            written |= {folder / section / f"{drawing.name}{kind}" for kind in svg.KINDS}
    for path in folder.rglob("*"):
        if path.suffix in svg.KINDS and path not in written:
            path.unlink()
    return drawn


def _learning_curves(run: Results) -> Iterator[Drawing]:
    for task in run.config.toy_evaluation_tasks:
        curves = run.toy_curves(task)
        if not curves.empty:
            figure = figures.learning_curves(curves, f"{task} ({run.role(task)})")
            yield Drawing(f"toy_{task}", figure, f"Learning curves on {task}")


def _meta_training(run: Results) -> Iterator[Drawing]:
    if not run.meta_training:
        return
    # Those of longer ablations have figures of their own.
    runs = _over_seeds(run, {recipe: recipe for recipe in run.config.usual_recipes})
    lines = recipe_lines(list(runs), run.config.select.recipe)
    columns = dict.fromkeys(
        column for table in runs.values() for column in table.columns if column.endswith("/return")
    )
    for column in columns:
        task = column.removesuffix("/return")
        title = f"Population return on {task}"
        figure = figures.meta_training(runs, column, lines, title, "return")
        yield Drawing(f"meta_return_{task}", figure, f"Population return on {task}, per recipe")
    figure = figures.meta_training(
        runs,
        "meta_gradient_norm",
        lines,
        "Norm of the meta-gradient",
        "norm",
        log=True,
    )
    yield Drawing("meta_gradient_norm", figure, "Norm of the meta-gradient, per recipe")


def _selection(run: Results) -> Iterator[Drawing]:
    if run.selection is not None:
        figure = figures.selection(run.selection.scores, run.selection.champion)
        yield Drawing("selection", figure, "Validation score of every checkpoint")


def _transfer(run: Results) -> Iterator[Drawing]:
    for task, evaluation in run.transfer.items():
        figure = figures.learning_curves(evaluation.curves, f"{task} (test)")
        yield Drawing(f"transfer_{task}", figure, f"Learning curves on the test task {task}")
    if run.summary is not None:
        yield from summary_drawings(run.summary, "summary_")


def _ablations(run: Results) -> Iterator[Drawing]:
    for name, ablation in run.ablations.items():
        for task, rows in ablation.summary.groupby("task", sort=False):
            figure = figures.ablation(rows, run.variants(name), str(task))
            text = f"Final returns of the variants on {task}"
            yield Drawing(f"ablation_{name}_returns_{task}", figure, text)
        for where, rows in ablation.effects.groupby("where", sort=False):
            if len(rows) > 1:
                figure = figures.effects(rows, f"Effects, {where}")
                text = f"Difference of every variant to the full method, {where} tasks"
                yield Drawing(f"ablation_{name}_effects_{where}", figure, text)
        yield from _ablation_meta_training(run, name)


def _ablation_meta_training(run: Results, name: str) -> Iterator[Drawing]:
    """Yield the return of the population over meta-training, mean over runs, a line per variant."""
    means = _over_seeds(run, run.variants(name))
    lines = recipe_lines(list(means), "")
    for task in run.training_tasks if means else ():
        title = f"Meta-training: population return on {task}"
        figure = figures.meta_training(means, f"{task}/return", lines, title, "return")
        yield Drawing(f"ablation_{name}_population_{task}", figure, title)


def _over_seeds(run: Results, names: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return metrics of meta-training, mean over its seeds, by the names of recipes."""
    found: dict[str, list[pd.DataFrame]] = {}
    for (recipe, _), table in run.meta_training.items():
        if recipe in names:
            found.setdefault(names[recipe], []).append(table)
    return {
        name: pd.concat(tables).groupby("step", as_index=False).mean()
        for name, tables in found.items()
    }


def _gradients(run: Results) -> Iterator[Drawing]:
    if not run.gradients.histograms.empty:
        yield from gradient_studies.drawings(run.gradients.tables, run.gradients.histograms)
    if run.gradients.identity is not None:
        figure = gradient_figures.identity(gradient_tables.accuracies(run.gradients.identity))
        yield Drawing("gradient_identity_accuracy", figure, "Accuracy on the identity task")


_DRAWINGS: dict[str, Callable[[Results], Iterator[Drawing]]] = {
    "learning_curves": _learning_curves,
    "meta_training": _meta_training,
    "selection": _selection,
    "transfer": _transfer,
    "ablations": _ablations,
    "gradients": _gradients,
}

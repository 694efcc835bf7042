"""The stage `report`: from the files of a run to one HTML page and its figures."""

import datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from l2o.files import write_table, write_text
from l2o.report import compare, cost, gradient_tables, tables, text, transfer_tables
from l2o.report.claim_table import claim_table
from l2o.report.claims import all_claims
from l2o.report.drawings import save_drawings
from l2o.report.load import load
from l2o.report.results import Results
from l2o.statistics.returns import FINAL_SHARE

_GLOSSARY = (
    ("agent", "A policy and a value network, trained by A2C (toy tasks) or PPO (Brax)."),
    ("task", "An environment, an agent algorithm and its hyperparameters."),
    ("optimizer", "What updates an agent's parameters: classical (optax) or learned."),
    ("meta-parameters", "The weights of a learned optimizer."),
    ("inner step", "One update of an agent."),
    ("outer step", "One update of the meta-parameters."),
    ("unroll length K", "Inner steps per outer step."),
    ("lifetime", "An agent's training from initialisation to reset."),
    ("pipeline training", "Agents are reset at staggered outer steps: all ages are present."),
    ("recipe", "All that defines one meta-training run, but for its seed."),
    ("checkpoint", "The meta-parameters after some outer step; step 0 is untrained."),
    ("champion", "The checkpoint chosen on the validation tasks."),
    ("scale", "A named set of budgets: smoke, quick, paper."),
    ("validation task", "Used to choose the champion, never to train or to test it."),
    ("test task", "Used only for the transfer comparison."),
    ("score", "A return on one task, scaled: 0 is the random policy, 1 is tuned Adam."),
    ("IQM", "Interquartile mean: the mean of the middle half of all scores."),
    ("optimality gap", "By how much scores stay below 1 on average; higher ones count as 1."),
    ("area", "Mean return over a whole learning curve: the area under it, per point."),
    ("final return", "Mean return over the end of a lifetime; see how to read the numbers."),
)


def build_report(results: Path, out: Path) -> None:
    """Write the report of a run and its figures.

    Args:
        results: Folder of a scale, ``results/<scale>``.
        out: The page. Beside it go ``figures/<section>/``, as SVG and PNG, and ``claims.parquet``,
            see :data:`l2o.statistics.columns.comparisons.CLAIM_COLUMNS`.

    Raises:
        ConfigError: The run's ``config.json`` is missing or invalid.
        ResultsError: A file of a job that was run is missing or truncated.
    """
    run = load(results)
    claims = claim_table(run)
    write_table(out.parent / "claims.parquet", claims)
    drawn = save_drawings(run, out.parent / "figures")
    write_text(out, _template().render(_context(run, drawn, claims)))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters = (text.count, text.listing, text.number, text.optimizer_name, text.rate)
    environment.filters.update({function.__name__: function for function in filters})
    return environment.get_template("template.html.j2")


def _context(run: Results, drawn: dict[str, Markup], claims: pd.DataFrame) -> dict[str, Any]:
    """Return what the template writes about."""
    settings, costs = run.config, cost.of_jobs(run.jobs)
    seconds = cost.of_meta_training(run.jobs)
    return {
        "run": run,
        "config": settings,
        "recipe": settings.recipes[settings.select.recipe],
        "resolved": settings.model_dump_json(indent=2),
        "date": _date(run),
        "commit": cost.commits(run.jobs),
        "claims": all_claims(run),
        "claim_table": tables.claims(claims),
        "figures": drawn,
        "tables": _tables(run),
        "gradients": gradient_tables.all_tables(run.gradients),
        "ablations": {name: _ablation(run, name, seconds) for name in run.ablations},
        "costs": costs,
        "links": {job.name: job.url for job in costs if job.url},
        "stages": cost.by_stage(run.jobs),
        "phases": cost.PHASES,
        "environment": cost.environment(run.jobs),
        "glossary": _GLOSSARY,
        "final_share": FINAL_SHARE,
        "min_seeds": compare.MIN_SEEDS,
    }


def _date(run: Results) -> str:
    """Return the day on which the last job ended: equal results give an equal report."""
    ends = [datetime.datetime.fromisoformat(job.record["ended"]) for job in run.jobs]
    return max(ends).date().isoformat() if ends else text.NOTHING


def _tables(run: Results) -> dict[str, Any]:
    """Return the tables outside the ablations; those of stages that were not run are left out."""
    found: dict[str, Any] = {
        "toy": tables.final_returns(run),
        "toy_comparisons": tables.champion_comparisons(_toy_curves(run)),
        "meta_training": tables.meta_training(run),
        "tuning": {
            task: tables.tuning(part.tuning, tables.chosen_rates(part.curves))
            for task, part in run.baselines.items()
        },
        "transfer_tuning": _transfer_tuning(run),
        "transfer": {
            task: transfer_tables.transfer(part, _budget(run))
            for task, part in run.transfer.items()
        },
        "off_preset": tables.champion_comparisons(
            {f"{task}, {variant}": part.curves for (task, variant), part in run.off_preset.items()}
        ),
        "optimizer_costs": transfer_tables.optimizer_costs(run.transfer),
        "transfer_comparisons": tables.champion_comparisons(
            {task: part.curves for task, part in run.transfer.items()}
        ),
    }
    if run.summary is not None:
        found["task_scores"] = transfer_tables.task_scores(run.summary)
        found["aggregates"] = transfer_tables.aggregated_scores(run.summary)
        found["improvement"] = transfer_tables.improvement(run.summary)
    if run.selection is not None:
        found["selection"] = tables.selection(run.selection)
    return found


def _transfer_tuning(run: Results) -> dict[str, tables.Table]:
    """Return the grids behind the transfer: of the tuning tasks, and of oracles."""
    found = {}
    if run.tuning is not None and run.transfer:
        rates = tables.chosen_rates(next(iter(run.transfer.values())).curves)
        for task, grid in run.tuning.groupby("task", sort=False):
            found[f"{task} (for the transfer)"] = tables.tuning(grid, rates)
    for task, part in run.transfer.items():
        if not part.oracle.empty:
            oracle = part.controls[part.controls["tuning"] == "oracle"]
            found[f"{task} (oracle)"] = tables.tuning(part.oracle, tables.chosen_rates(oracle))
    return found


def _budget(run: Results) -> int:
    return 0 if run.tuning is None else transfer_tables.tuning_budget(run.tuning)


def _toy_curves(run: Results) -> dict[str, pd.DataFrame]:
    """Return the learning curves of the toy tasks by task and role."""
    tasks = run.config.toy_evaluation_tasks
    found = {f"{task} ({run.role(task)})": run.toy_curves(task) for task in tasks}
    return {title: curves for title, curves in found.items() if not curves.empty}


def _ablation(run: Results, name: str, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the question of an ablation and the tables that answer it."""
    variants, results = run.variants(name), run.ablations[name]
    finals = compare.ablation_finals(results.curves)
    gains = (c for recipe in variants for c in compare.compare_stages(finals, recipe))
    return {
        "title": name.replace("_", " "),
        "question": run.config.ablations[name].question,
        "tasks": list(results.summary["task"].unique()),
        "effects": tables.effects(results.effects, seconds),
        "factors": None if results.factors.empty else tables.factors(results.factors),
        "returns": tables.ablation(results.summary, variants),
        "pairs": tables.variant_comparisons(
            compare.compare_pairs(finals, list(variants)), variants
        ),
        "gains": tables.variant_comparisons(gains, variants),
    }

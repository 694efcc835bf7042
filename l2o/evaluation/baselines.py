"""The stage `baselines`: tune classical optimizers on a toy task and record their curves."""

from pathlib import Path

from l2o.evaluation.candidates import Candidate
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.statistics import final_returns, summarize
from l2o.evaluation.toy_tasks import configured_toy_lifetime
from l2o.evaluation.tuning import tune
from l2o.files import write_json, write_table
from l2o.runs import Run
from l2o.settings import Config


def baselines(config: Config, task: str, out: Path) -> None:
    """Tune each classical optimizer, then train fresh agents with it, and some that never learn.

    Writes ``tuning.parquet``, ``tuned.json``, ``curves.parquet`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        task: A toy task.
        out: Folder of the results.
    """
    settings = config.baselines
    tags = {"task": task, "scale": config.scale}
    with Run(out, stage="baselines", config=settings.model_dump(), seed=0, tags=tags) as run:
        lifetime, budget = configured_toy_lifetime(config, task)
        names = [Candidate(name, name, float("nan")) for name in settings.optimizers]
        # Any of them at rate 0: it shares their compiled program.
        random = Candidate("random", settings.optimizers[0], 0.0)
        with run.phase("tune"):
            tuned, grid = tune(
                task,
                lifetime,
                names,
                settings.learning_rates,
                settings.tuning_seeds,
                budget,
                show_points(run),
            )
        with run.phase("evaluate"):
            curves = evaluate(
                task,
                lifetime,
                [*tuned, random],
                range(settings.seeds),
                budget,
                show_points(run),
            )
        write_table(out / "tuning.parquet", grid)
        write_json(out / "tuned.json", {c.label: c.learning_rate for c in tuned})
        write_table(out / "curves.parquet", curves)
        finals = summarize(final_returns(curves), ["optimizer"])
        run.summary(dict(zip(finals["optimizer"], finals["mean"], strict=True)))

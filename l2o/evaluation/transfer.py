"""The stage `transfer`: does the champion train unseen Brax agents better than tuned Adam?"""

from pathlib import Path

from l2o.errors import CheckpointError
from l2o.evaluation.brax_tasks import brax_lifetime, ppo_settings
from l2o.evaluation.candidates import Candidate, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.statistics import final_returns, summarize
from l2o.evaluation.tuning import tune
from l2o.files import read_json, sha256, write_table
from l2o.runs import Run
from l2o.settings import Config


def transfer(config: Config, selection: Path, task: str, out: Path) -> None:
    """Tune every optimizer's learning rate on the tuning task, then train on a test task.

    Writes ``tuning.parquet``, ``curves.parquet`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        selection: Folder of the selection.
        task: A test task.
        out: Folder of the results.
    """
    settings = config.transfer
    tags = {"task": task, "scale": config.scale, "recipe": config.select.recipe}
    record = settings.model_dump() | {"ppo_resolved": vars(ppo_settings(task, settings))}
    with Run(out, stage="transfer", config=record, seed=0, tags=tags) as run:
        candidates = _candidates(config, selection)
        with run.phase("tune"):
            lifetime, budget = brax_lifetime(
                settings.tuning_task, settings, settings.tuning_env_steps, points=1
            )
            tuned, grid = tune(
                settings.tuning_task,
                lifetime,
                candidates,
                settings.learning_rates,
                settings.tuning_seeds,
                budget,
                show_points(run),
            )
        with run.phase("evaluate"):
            lifetime, budget = brax_lifetime(task, settings)
            seeds = range(settings.seeds)
            curves = evaluate(task, lifetime, tuned, seeds, budget, show_points(run))
        write_table(out / "tuning.parquet", grid)
        write_table(out / "curves.parquet", curves)
        finals = summarize(final_returns(curves), ["optimizer"])
        run.summary(dict(zip(finals["optimizer"], finals["mean"], strict=True)))


def _candidates(config: Config, selection: Path) -> list[Candidate]:
    """Return the champion, its untrained initialisation and the classical optimizers.

    Raises:
        CheckpointError: The champion's file is not the one that was selected.
    """
    champion = selection / "champion.safetensors"
    chosen = read_json(selection / "champion.json")
    learned = [
        resolve(str(selection / f"{name}.safetensors"), None, label=name)
        for name in ("champion", "untrained")
    ]
    if sha256(champion) != chosen["sha256"]:
        raise CheckpointError(f"{champion}: not the file that was selected; run `select` again.")
    names = config.baselines.optimizers
    return [*learned, *(Candidate(name, name, float("nan")) for name in names)]

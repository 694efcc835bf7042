"""The stages `tune` and `transfer`: does the champion train unseen agents better than Adam?"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from l2o.config.models import Config, Transfer
from l2o.errors import unknown_name
from l2o.evaluation.candidates import Candidate
from l2o.evaluation.contenders import contenders, untuned, with_rates
from l2o.evaluation.cost import costs
from l2o.evaluation.evaluate import Budget, Timing, evaluate, show_points
from l2o.evaluation.ppo import PPOLifetime
from l2o.evaluation.ppo_tasks import ppo_lifetime, ppo_settings
from l2o.evaluation.random_policy import random_curves, random_returns
from l2o.evaluation.resume import Resume
from l2o.evaluation.tuning import TUNING_SEED, grid_finals, grid_table, rates_over_tasks
from l2o.files import read_json, sha256, write_json, write_table
from l2o.jobs.locks import hold
from l2o.jobs.record import Run
from l2o.jobs.versions import code_version
from l2o.statistics.returns import best_learning_rates, final_returns, summarize


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where earlier stages left what the transfer evaluation needs.

    Attributes:
        selection: Folder of the selection.
        meta_train: Folder with the runs of meta-training.
    """

    selection: Path
    meta_train: Path

    def contenders(self, config: Config) -> list[Candidate]:
        """Return every optimizer that takes part."""
        return contenders(config, self.selection, self.meta_train)


def tune_for_transfer(config: Config, sources: Sources, out: Path, state: Path) -> None:
    """Choose every optimizer's learning rate on the tuning tasks.

    Writes ``tuning.parquet``, ``tuned.json`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        sources: What takes part.
        out: Folder of the results.
        state: What a killed job continues from.
    """
    settings = config.transfer
    tags = {"scale": config.scale, "recipe": config.select.recipe}
    hold(state)
    with Run(out, stage="tune", config=settings.model_dump(), seed=0, tags=tags) as run:
        candidates = sources.contenders(config)
        resume = Resume(state, _fingerprint(config, sources, settings))
        found, zeros = [], {}
        for task in settings.tuning_tasks:
            with run.phase(task):
                lifetime, _ = ppo_lifetime(task, settings)
                trials = range(TUNING_SEED, TUNING_SEED + settings.seeds)
                zeros[task] = float(random_returns(task, lifetime, trials, settings.points).mean())
                found.append(_grid(task, settings, candidates, run, resume))
        finals = pd.concat(found, ignore_index=True)
        rates = rates_over_tasks(finals, zeros)
        write_table(out / "tuning.parquet", grid_table(finals))
        write_json(out / "tuned.json", rates)
        run.summary(rates)
        resume.discard()


def transfer(
    config: Config,
    sources: Sources,
    tuned: Path,
    task: str,
    out: Path,
    state: Path,
    variant: str | None = None,
) -> None:
    """Train agents on a test task with every optimizer.

    Writes ``curves.parquet`` (rates from the tuning tasks, and a random policy),
    ``controls.parquet`` (the same with a column ``tuning``: learned optimizers at their own rates,
    ``none``, and if configured rates tuned on the test task, ``oracle``), ``oracle.parquet`` (that
    grid, or no rows), ``costs.parquet`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        sources: What takes part.
        tuned: Folder of the tuning.
        task: A test task.
        out: Folder of the results.
        state: What a killed job continues from.
        variant: Name of an agent off the preset; none for the preset's.
    """
    settings = config.transfer if variant is None else with_variant(config.transfer, variant)
    tags = {"task": task, "scale": config.scale, "recipe": config.select.recipe}
    tags |= {} if variant is None else {"variant": variant}
    record = settings.model_dump() | {"ppo_resolved": vars(ppo_settings(task, settings))}
    hold(state)
    with Run(out, stage="transfer", config=record, seed=0, tags=tags) as run:
        rates = read_json(tuned / "tuned.json")
        own = sources.contenders(config)
        candidates = with_rates(own, rates)
        resume = Resume(state, _fingerprint(config, sources, settings, rates))
        wanted = {"validation": candidates, "none": untuned(own)}
        grid = pd.DataFrame(columns=["task", "optimizer", "learning_rate", "mean", "seeds"])
        if settings.oracle:
            with run.phase("oracle"):
                finals = _grid(task, settings, own, run, resume)
            best = best_learning_rates(finals).set_index("optimizer")["learning_rate"]
            wanted["oracle"] = with_rates(own, best.to_dict())
            grid = grid_table(finals)
        lifetime, budget = ppo_lifetime(task, settings)
        timings: list[Timing] = []
        with run.phase("evaluate"):
            curves = _curves(task, lifetime, wanted, settings, budget, run, resume, timings)
        with run.phase("cost"):
            table = costs(task, lifetime, candidates, budget, timings)
        main = curves[curves["tuning"] == "validation"].drop(columns="tuning")
        write_table(out / "curves.parquet", main)
        write_table(out / "controls.parquet", curves[curves["tuning"] != "validation"])
        write_table(out / "oracle.parquet", grid)
        write_table(out / "costs.parquet", table)
        finals = summarize(final_returns(main), ["optimizer"])
        run.summary(dict(zip(finals["optimizer"], finals["mean"], strict=True)))
        resume.discard()


def with_variant(settings: Transfer, name: str) -> Transfer:
    """Return the settings with a variant's replacements of PPO's.

    Raises:
        L2OError: There is no such variant.
    """
    if name not in settings.variants:
        raise unknown_name("variant", name, settings.variants)
    over = settings.variants[name].replacements()
    return settings.model_copy(update={"ppo": settings.ppo.model_copy(update=over)})


def _grid(
    task: str, settings: Transfer, candidates: list[Candidate], run: Run, resume: Resume
) -> pd.DataFrame:
    """Train agents with every optimizer at every rate of the grid."""
    lifetime, budget = ppo_lifetime(task, settings, settings.tuning_env_steps, points=1)
    rates, seeds = settings.learning_rates, settings.tuning_seeds
    return grid_finals(
        task,
        lifetime,
        candidates,
        rates,
        seeds,
        budget,
        show_points(run),
        resume=resume.part("grid"),
    )


def _curves(
    task: str,
    lifetime: PPOLifetime,
    wanted: dict[str, list[Candidate]],
    settings: Transfer,
    budget: Budget,
    run: Run,
    resume: Resume,
    timings: list[Timing],
) -> pd.DataFrame:
    """Train with every optimizer and rate once; return the rows of each way of tuning."""
    seeds = range(settings.seeds)
    distinct = {(c.label, c.learning_rate): c for several in wanted.values() for c in several}
    curves = evaluate(
        task,
        lifetime,
        list(distinct.values()),
        seeds,
        budget,
        show_points(run),
        resume=resume.part("curves"),
        timings=timings,
    )
    parts = [
        curves.merge(_names(candidates), on=["optimizer", "learning_rate"]).assign(tuning=tuning)
        for tuning, candidates in wanted.items()
    ]
    random = random_curves(task, lifetime, seeds, curves).assign(tuning="validation")
    return pd.concat([*parts, random], ignore_index=True)


def _names(candidates: Sequence[Candidate]) -> pd.DataFrame:
    pairs = [(c.label, c.learning_rate) for c in candidates]
    return pd.DataFrame(pairs, columns=["optimizer", "learning_rate"])


def _fingerprint(config: Config, sources: Sources, settings: Transfer, *more: object) -> list:
    """Return everything that the results depend on."""
    champion = sha256(sources.selection / "champion.safetensors")
    known = [champion, settings.model_dump(mode="json"), config.baselines.optimizers, *more]
    return [code_version("transfer"), *known]

"""Which jobs several stages read from, or are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from l2o.choices import STUDIES
from l2o.pipeline.contract import Input, Job, job

if TYPE_CHECKING:
    from l2o.config.models import Config

TOY = "toy"
"""In place of a task of a level: all toy tasks on which optimizers are evaluated."""


def trainings(config: Config, recipe: str) -> Iterator[Job]:
    """Yield the meta-training runs of a recipe, one for each of its seeds."""
    for seed in config.training_seeds(recipe):
        yield job("meta_train", recipe=recipe, seed=seed)


def levels_of(config: Config, ablation: str) -> Iterator[Job]:
    """Yield a job for every level of an ablation and every place where they are compared.

    Raises:
        L2OError: There is no such ablation.
    """
    compared = config.get_ablation(ablation)
    for recipe in compared.recipes:
        for where in (TOY, *compared.tasks):
            yield job("level", recipe=recipe, where=where)


def usual_levels(config: Config) -> Iterator[Job]:
    """Yield the levels of the ablations that are part of the whole pipeline."""
    for ablation in config.usual_ablations:
        yield from levels_of(config, ablation)


def transfers(config: Config) -> Iterator[Job]:
    """Yield the transfer to every test task, with the agents of its preset."""
    return (job("transfer", task=task) for task in config.transfer.tasks)


def recordings(config: Config) -> Iterator[Job]:
    """Yield the recording of every source of gradients."""
    return (job("record", source=source) for source in config.analysis.sources)


def analyses(config: Config) -> Iterator[Job]:
    """Yield all studies of gradients, which the whole pipeline leaves out."""
    for study in STUDIES:
        yield job("study", study=study)
    for source in config.analysis.identity.sources:
        yield job("identity", source=source)


def usual(config: Config) -> Iterator[Job]:
    """Yield the jobs that the whole pipeline is made of, but for delivery and report."""
    for task in config.toy_evaluation_tasks:
        yield job("baselines", task=task)
    for recipe in config.usual_recipes:
        yield from trainings(config, recipe)
    yield job("select")
    yield job("tune")
    yield from transfers(config)
    yield job("transfer_summary")
    for ablation in config.usual_ablations:
        yield job("ablate", ablation=ablation)


def baselines_of(tasks: list[str]) -> Iterator[Input]:
    """Yield what scores on some tasks are measured by."""
    for task in tasks:
        yield Input(job("baselines", task=task), ("curves.parquet",))


def contenders_of(config: Config) -> Iterator[Input]:
    """Yield what takes part in the transfer evaluation: the selection, and further recipes."""
    files = "champion.json", "champion.safetensors", "untrained.safetensors"
    yield Input(job("select"), files)
    for recipe in config.transfer.recipes:
        seed = config.training_seeds(recipe)[0]
        yield Input(job("meta_train", recipe=recipe, seed=seed))

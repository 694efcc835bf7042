"""Every stage by name, and what follows from what the stages say."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING

from l2o import stages
from l2o.errors import L2OError, unknown_name
from l2o.pipeline.contract import Job, Stage

if TYPE_CHECKING:
    from l2o.config.models import Config


def stage_names() -> list[str]:
    """Return the names of all stages: those of the files in ``l2o/stages``."""
    return modules_in(stages)


def modules_in(package: ModuleType) -> list[str]:
    """Return the names of the modules in a package, sorted."""
    files = (file for folder in package.__path__ for file in os.listdir(folder))
    names = (file.removesuffix(".py") for file in files if file.endswith(".py"))
    return sorted(name for name in names if name.isidentifier() and name != "__init__")


@functools.cache
def get_stage(name: str) -> Stage:
    """Return a stage by its name.

    Raises:
        L2OError: There is none, and the message gives the nearest valid one; or its file has no
            contract.
    """
    if name not in stage_names():
        raise unknown_name("stage", name, stage_names())
    module = importlib.import_module(f"{stages.__name__}.{name}")
    if not isinstance(getattr(module, "STAGE", None), Stage):
        raise L2OError(f"{module.__file__}: has no STAGE, the contract of a stage.")
    return module.STAGE


def word_of(name: str) -> str:
    """Return the word of a stage on the command line."""
    return name.replace("_", "-")


def jobs_of(config: Config, name: str) -> list[Job]:
    """Return every job of a stage that the workflow can run."""
    several = get_stage(name).jobs
    return [Job(name)] if several is None else list(several(config))


def input_files(config: Config, job: Job, results: str) -> list[str]:
    """Return what a job reads.

    Args:
        config: The configuration.
        job: The job.
        results: Folder of the scale's results.
    """
    files = []
    for needed in get_stage(job.stage).inputs(config, **job.named):
        if needed.job is None:
            files += needed.files
            continue
        places = get_stage(needed.job.stage).places_of(needed.job, needed.files)
        files += [str(PurePosixPath(results, place)) for place in places]
    return list(dict.fromkeys(files))


def output_files(config: Config, job: Job, results: str) -> list[str]:
    """Return what a job makes; see :func:`input_files` for the arguments."""
    made = get_stage(job.stage).files_of(config, job)
    return [str(PurePosixPath(results, file)) for file in made]


def command_of(config: Config, job: Job, results: str) -> list[str]:
    """Return the command of a job as its rule calls it, without the program's name."""
    stage = get_stage(job.stage)
    place = PurePosixPath(results)
    words = [word_of(job.stage), *stage.leading]
    if stage.config_help is not None:
        words += ["--config", str(place / "config.json")]
    for option in stage.options:
        if option.names_job and option.name in job.named:
            words += [option.flag, job.named[option.name]]
        elif option.earlier is not None:
            earlier = option.earlier.format(**job.named)
            words += [option.flag, str(place / earlier)]
    folder = stage.folder_of(job)
    if stage.resumes:
        words += ["--state", str(place / ".state" / stage.state_of(job))]
    return [*words, "--out", str(place / folder / stage.out)]

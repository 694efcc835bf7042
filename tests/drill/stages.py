"""The command of every stage, as the rules call it: what the stages say of themselves."""

import graphlib
from pathlib import Path
from typing import NamedTuple

from l2o.config import files
from l2o.config.models import Config
from l2o.pipeline.contract import Job
from l2o.workflow.registry import command_of, get_stage, jobs_of, output_files, stage_names

_REPOSITORY = Path(__file__).parents[2]
_RESULTS = "results/smoke"
# Beside what Snakemake knows of: the store that the delivery fills.
_ELSEWHERE = {"track": ["results/mlflow.db", "results/mlartifacts"]}


class Stage(NamedTuple):
    """One job of a stage.

    Attributes:
        command: Without the program.
        outputs: What it makes.
        state: What a killed job continues from, if it can.
    """

    command: list[str]
    outputs: list[str]
    state: str = ""


def _all_stages() -> dict[str, Stage]:
    """Return a job of every stage that the drill's configuration has, in an order that can run."""
    settings = files.read_yaml(_REPOSITORY / "tests/drill/config.yaml")
    config = files.build(settings, _REPOSITORY / "config")
    jobs = {name: jobs_of(config, name) for name in stage_names()}
    chosen = {name: several[-1] for name, several in jobs.items() if several}
    before = {
        name: {item.job.stage for item in get_stage(name).inputs(config, **job.named) if item.job}
        for name, job in chosen.items()
    }
    order = graphlib.TopologicalSorter(before).static_order()
    return {name: _stage(config, chosen[name]) for name in order}


def _stage(config: Config, job: Job) -> Stage:
    stage = get_stage(job.stage)
    folder = stage.folder_of(job)
    outputs = [f"{_RESULTS}/{folder}"] if folder else output_files(config, job, _RESULTS)
    command = command_of(config, job, _RESULTS)
    return Stage(
        command,
        outputs + _ELSEWHERE.get(job.stage, []),
        stage.state_of(job) if stage.resumes else "",
    )


STAGES = _all_stages()


def program(name: str) -> list[str]:
    """Return the whole command of a stage."""
    return ["l2o", *STAGES[name].command]


def out_of(name: str) -> Path:
    """Return where a stage's results go, below the working folder."""
    return Path(STAGES[name].outputs[0])

"""The command of every stage, as the rules call it."""

from pathlib import Path
from typing import NamedTuple

_R = "results/smoke"
_CONFIG = ["--config", f"{_R}/config.json"]
_SOURCES = [*_CONFIG, "--selection", f"{_R}/select", "--runs", f"{_R}/meta_train"]


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


def _stage(name: str, out: str, *options: str, state: str = "") -> Stage:
    resumed = ["--state", f"{_R}/.state/{state}"] if state else []
    return Stage([name, *options, *resumed, "--out", f"{_R}/{out}"], [f"{_R}/{out}"], state)


STAGES = {
    "baselines": _stage("baselines", "baselines/catch", *_CONFIG, "--task", "catch"),
    "meta_train": _stage(
        "meta-train",
        "meta_train/linear/seed_0",
        *_CONFIG,
        "--recipe=linear",
        "--seed=0",
        state="meta_train/linear/seed_0",
    ),
    "select": _stage(
        "select",
        "select",
        *_CONFIG,
        "--runs",
        f"{_R}/meta_train/optim4rl_m/seed_0",
        "--baselines",
        f"{_R}/baselines",
    ),
    "tune": _stage("tune", "tune", *_SOURCES, state="tune"),
    "transfer": _stage(
        "transfer",
        "transfer/inverted_double_pendulum",
        *_SOURCES,
        "--tuned",
        f"{_R}/tune",
        "--task=inverted_double_pendulum",
        state="transfer/inverted_double_pendulum",
    ),
    "transfer_summary": _stage(
        "transfer-summary", "transfer_summary", *_CONFIG, "--transfer", f"{_R}/transfer"
    ),
    "level": _stage(
        "level",
        "levels/linear/toy",
        *_CONFIG,
        "--recipe=linear",
        "--where=toy",
        "--runs",
        f"{_R}/meta_train",
    ),
    "ablate": _stage(
        "ablate",
        "ablations/structure",
        *_CONFIG,
        "--name=structure",
        "--levels",
        f"{_R}/levels",
        "--baselines",
        f"{_R}/baselines",
    ),
    "record": _stage("record", "analysis/recordings/digits", *_CONFIG, "--source=digits"),
    "drift": _stage("drift", "analysis/drift", *_CONFIG),
    "study": _stage(
        "study",
        "analysis/range",
        *_CONFIG,
        "--study=range",
        "--recordings",
        f"{_R}/analysis/recordings",
        "--drift",
        f"{_R}/analysis/drift",
    ),
    "identity": _stage(
        "identity",
        "analysis/identity/digits",
        *_CONFIG,
        "--source=digits",
        "--recordings",
        f"{_R}/analysis/recordings",
    ),
    "track": Stage(
        ["track", "sync", "--results", "results", "--out", f"{_R}/tracking.json"],
        [f"{_R}/tracking.json", "results/mlflow.db", "results/mlartifacts"],
    ),
    "report": Stage(
        ["report", "--results", _R, "--out", f"{_R}/report.html"],
        [f"{_R}/report.html", f"{_R}/claims.parquet", f"{_R}/figures"],
    ),
}
"""In an order in which they can run."""


def program(name: str) -> list[str]:
    """Return the whole command of a stage."""
    return ["l2o", *STAGES[name].command]


def out_of(name: str) -> Path:
    """Return where a stage's results go, below the working folder."""
    return Path(STAGES[name].outputs[0])

"""A copy of the workflow's files, with a stand-in for the `l2o` command."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from forked import snakemake

from l2o.jobs import RECORD
from l2o.workflow.registry import get_stage, stage_names, word_of

REPOSITORY = Path(__file__).parents[2]

# Writes what each stage promises, and a line about each call. Where `fail` names it, a job writes
# some resume state and its first outputs, then fails. It waits as long as there is a file `hold`.
# `STAGES` goes before it.
STAND_IN = """
import csv, json, os, pathlib, sys, time
stage, *rest = sys.argv[1:]
options = {}
for word in rest:
    if word.startswith("--"):
        options[word[2:]] = None
    elif options:
        options[list(options)[-1]] = word
out = pathlib.Path(options["out"])
state = pathlib.Path(options["state"]) if "state" in options else None
fail = pathlib.Path("fail")
call = {
    "argv": sys.argv[1:],
    "stage": stage,
    "resumed": bool(state and (state / "progress").exists()),
    "invocation": os.environ.get("L2O_INVOCATION"),
}
with open("calls.jsonl", "a") as file:
    file.write(json.dumps(call) + "\\n")

def write(*names):
    for name in names:
        path = out / name
        folder = () if path.suffix else ("one.svg", "one.png", "summary_two.svg")
        for file in [path / name for name in folder] or [path]:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(stage)

while pathlib.Path("hold").exists():
    time.sleep(0.05)
if out.suffix:
    out = out.parent
if state:
    state.mkdir(parents=True, exist_ok=True)
    (state / "progress").write_text("4")
    write("metrics.jsonl")
if fail.exists() and fail.read_text() in out.as_posix():
    write("metrics.parquet")
    print(f"l2o {stage}: out of luck.", file=sys.stderr)
    sys.exit(2)
rows = [options["row"]] if "row" in options else []
if stage == "sweep" and not rows:
    with open(f"config/sweeps/{options['sweep']}.tsv") as table:
        for cells in csv.DictReader(table, delimiter="\\t"):
            rows.append("/".join(f"{name}~{value}" for name, value in cells.items()))
write(*(f"{row}/{file}" for row in rows for file in ("checkpoints", "run.json")), *STAGES[stage])
if state:
    (state / "progress").unlink()
"""


def promises() -> dict[str, list[str]]:
    """Return what every stage says that it makes, by its word; the sweep's depend on its table."""
    found = {}
    for name in stage_names():
        stage = get_stage(name)
        fixed = () if callable(stage.outputs) else stage.outputs
        found[word_of(name)] = [*fixed, *([RECORD] if stage.has_record else [])]
    return found


class Checkout:
    """A copy of the workflow in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("workflow", "config", "slurm", "profiles"):
            shutil.copytree(REPOSITORY / name, folder / name)
        shutil.copy(REPOSITORY / "Snakefile", folder)
        commands = folder / "bin"
        commands.mkdir()
        (commands / "stand_in.py").write_text(f"STAGES = {promises()}{STAND_IN}")
        command = commands / "l2o"
        command.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I -S "{commands}/stand_in.py" "$@"\n'
        )
        command.chmod(0o755)
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "L2O_", "SNAKEMAKE_"))
        }
        self.environment["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"

    def without_messages(self) -> None:
        """Let Snakemake say of each job what it says of those that have no message."""
        for path in (self.folder / "workflow/rules").glob("*.smk"):
            text = re.sub(r"^ +message:\n.*\n", "", path.read_text(), flags=re.M)
            path.write_text(text)

    def snakemake(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess:
        done = snakemake(
            ["--cores", "2", *arguments],
            self.folder,
            self.environment,
            self.folder.with_name("log"),
            timeout=120,
        )
        assert fails or done.returncode == 0, done.stdout + done.stderr
        return done

    def planned(self, *arguments: str, changes: dict | None = None) -> dict[str, int]:
        """Return how many jobs of each rule Snakemake would run."""
        if changes:
            (self.folder / "changes.yaml").write_text(yaml.safe_dump(changes))
            arguments = (*arguments, "--configfile", "changes.yaml")
        done = self.snakemake("--dry-run", *arguments)
        text = done.stdout + done.stderr
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:", 1)[1].split("\n\n", 1)[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}

    def calls(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "calls.jsonl").open()]

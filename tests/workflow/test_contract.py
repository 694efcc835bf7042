"""Rules and stages say the same of inputs, outputs, commands; a new stage is a file and a rule."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, Checkout

from l2o import cli
from l2o.config import files
from l2o.workflow.registry import (
    command_of,
    input_files,
    jobs_of,
    output_files,
    stage_names,
    word_of,
)

RESULTS = "results/smoke"
# One sweep whose rows share a job, others whose rows do not.
SETTINGS = {
    "scale": "smoke",
    "sweeps": {"meta_learning_rate": {"one_program": False}},
}


@pytest.fixture(scope="module")
def config():
    """The project's own, with sweeps of both kinds."""
    base = files.merge(files.read_yaml(REPOSITORY / "config/config.yaml"), SETTINGS)
    before = Path.cwd()
    os.chdir(REPOSITORY)  # where the tables of sweeps and weights are
    yield files.build(base, REPOSITORY / "config")
    os.chdir(before)


@pytest.fixture(scope="module")
def planned(config, tmp_path_factory):
    """Every job that Snakemake would run: its rule, inputs, outputs and command."""
    checkout = Checkout(tmp_path_factory.mktemp("contract") / "fresh")
    checkout.without_messages()
    (checkout.folder / "changes.yaml").write_text(yaml.safe_dump(SETTINGS))
    # Every job by what it makes first.
    targets = [output_files(config, job, RESULTS)[0] for job in every_job(config)]
    options = ["--dry-run", "--printshellcmds", "--configfile", "changes.yaml"]
    done = checkout.snakemake(*options, "--config", "scale=smoke", "--", *targets)
    return parse(done.stdout + done.stderr)


def parse(text: str) -> list[dict]:
    """Return the jobs of a dry run, but for those that are names of targets."""
    jobs = []
    for block in re.split(r"^(?:local)?rule ", text, flags=re.M)[1:]:
        said = dict(re.findall(r"^    (input|output): (.*)$", block, re.M))
        command = re.search(r"^Shell command: (.*)$|^ +(l2o .*)$", block, re.M)
        if "output" in said:
            words = command[1] or command[2]
            jobs.append(
                {
                    "rule": block.split(":", 1)[0],
                    "input": set(said.get("input", "").split(", ")) - {""},
                    "output": set(said["output"].split(", ")),
                    "command": shlex.split(words.partition(" 2>&1 |")[0])[1:],
                }
            )
    return jobs


def by_outputs(planned):
    return {frozenset(job["output"]): job for job in planned}


def every_job(config):
    return [job for name in stage_names() for job in jobs_of(config, name)]


def test_every_stage_has_a_rule_of_its_name(planned):
    rules = {job["rule"] for job in planned}
    assert set(stage_names()) <= rules
    # What else there is shares the command of a stage.
    others = {job["rule"]: job["command"][0] for job in planned if job["rule"] not in stage_names()}
    sweeps = {f"train_sweep_{name}": "sweep" for name in ("optim4rl_m", "population")}
    assert others == sweeps | {"transfer_variant": "transfer"}


def test_every_job_has_a_rule_and_its_outputs(config, planned):
    rules = by_outputs(planned)
    jobs = every_job(config)
    assert len(jobs) > 60 and {job.stage for job in jobs} == set(stage_names())
    for job in jobs:
        made = frozenset(output_files(config, job, RESULTS))
        assert made in rules, f"{job}: no rule makes just these: {sorted(made)}"
        assert rules[made]["command"][0] == word_of(job.stage)
    assert len(jobs) == len(planned)


def test_rules_read_what_stages_say(config, planned):
    rules = by_outputs(planned)
    for job in every_job(config):
        rule = rules[frozenset(output_files(config, job, RESULTS))]
        needed = set(input_files(config, job, RESULTS))
        assert rule["input"] == needed


def test_rules_call_what_stages_say(config, planned):
    rules, parser = by_outputs(planned), cli.build_parser()
    for job in every_job(config):
        called = rules[frozenset(output_files(config, job, RESULTS))]["command"]
        expected = command_of(config, job, RESULTS)
        assert called[0] == expected[0] == word_of(job.stage)
        one, other = (vars(parser.parse_args(words)) for words in (called, expected))
        assert one.pop("devices", 1) >= 1 and other.pop("devices", 1) == 1  # the rule's own affair
        # What the job must be, where it reads a configuration.
        assert (one.pop("expect", None) is None) == (job.stage == "track")
        assert other.pop("expect", None) is None
        assert one == other


def test_rules_have_the_version_of_their_stage():
    """Else they would keep results that other settings or other code have made."""
    text = "\n".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    blocks = re.split(r"^ *(?:use rule \w+ as \w+ with|rule ?\w*):\n", text, flags=re.M)[1:]
    seen = []
    for block in blocks:
        version = re.findall(r'version=get_version\("(\w+)"', block)
        command = re.search(r'"l2o ([\w-]+) ', block)
        if command:
            name = command[1].replace("-", "_")
            assert version == [name]
            assert re.findall(r'^ +get_inputs\("(\w+)"', block, re.M) == [name]
            seen.append(name)
        elif " output:" in block:  # of another rule's command
            assert version == ["transfer"]
    # Rows of sweeps have a rule for those that share a job, and one for those that do not.
    assert sorted(seen) == sorted([*stage_names(), "sweep"])


def blocks_of(title: str) -> list[str]:
    """Return the code in a section of CONTRIBUTING.md."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    section = text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [
        textwrap.dedent(code)
        for code in re.findall(r"^ *```python\n(.*?)```", section, re.M | re.S)
    ]


class TestAStageThatSomebodyAdds:
    """The one of CONTRIBUTING.md, as it is there."""

    @pytest.fixture(scope="class")
    @staticmethod
    def place(tmp_path_factory):
        """A copy of package and workflow in which one file and one rule are new."""
        folder = tmp_path_factory.mktemp("toy") / "place"
        for name in ("l2o", "workflow", "config", "tests/drill"):
            shutil.copytree(REPOSITORY / name, folder / name)
        shutil.copy(REPOSITORY / "Snakefile", folder)
        stage, rule = blocks_of("Add a stage")
        (folder / "l2o/stages/best_rates.py").write_text(stage)
        with (folder / "workflow/rules/baselines.smk").open("a") as rules:
            rules.write(f"\n\n{rule}")
        (folder / "bin").mkdir()
        command = folder / "bin/l2o"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m l2o.cli "$@"\n')
        command.chmod(0o755)
        made = folder / RESULTS / "baselines/catch"
        made.mkdir(parents=True)
        for name in ("run.json", "curves.parquet", "tuning.parquet", "tuned.json"):
            (made / name).write_text('{"adam": 0.01}')
        return folder

    @staticmethod
    def run(place, *command):
        path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(place)}
        return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)

    def snakemake(self, place, *more):
        words = ["snakemake", "--cores", "1", "--config", "scale=smoke", *more]
        target = f"{RESULTS}/best_rates/catch/rates.json"
        done = self.run(place, sys.executable, "-m", *words, "--", target)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def test_the_workflow_runs_it_and_knows_when_to_do_so_again(self, place):
        # What is here was not made by this workflow: its version cannot have changed.
        self.snakemake(place, "--rerun-triggers", "mtime")
        folder = place / RESULTS / "best_rates/catch"
        assert json.loads((folder / "rates.json").read_text()) == {"adam": 0.01}
        record = json.loads((folder / "run.json").read_text())
        assert record["stage"] == "best_rates" and record["tags"]["task"] == "catch"
        edit = {"baselines": {"seeds": 4}}  # of what it reads
        (place / "edit.yaml").write_text(f"{edit}")
        again = self.snakemake(place, "--dry-run", "--configfile", "edit.yaml")
        assert re.search(r"^best_rates +1$", again, re.M)
        source = place / "l2o/stages/best_rates.py"
        source.write_text(source.read_text().replace("Yield the baselines.", "Yield baselines."))
        again = self.snakemake(place, "--dry-run")
        assert re.search(r"^best_rates +1$", again, re.M) and "Params have changed" in again

    def test_the_command_line_has_it(self, place):
        done = self.run(place, "l2o", "--help")
        assert re.search(r"best-rates +say which learning rates", done.stdout)
        done = self.run(place, "l2o", "best-rates", "--help")
        assert "--task TASK" in done.stdout and "--out DIR" in done.stdout

    def test_stand_ins_and_drill_have_it(self, place):
        code = (
            "import sys; sys.path += ['tests']\n"
            "from drill.stages import STAGES\n"
            "print(STAGES['best_rates'].command, STAGES['best_rates'].outputs)\n"
        )
        done = self.run(place, sys.executable, "-c", code)
        assert done.returncode == 0, done.stderr
        assert "'best-rates', '--config'" in done.stdout
        assert f"{RESULTS}/best_rates/catch" in done.stdout

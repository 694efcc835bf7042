"""What a running workflow reads does not change under it, wherever its results are."""

import json
import shutil
import subprocess
import sys
import time

import pytest
from checkout import Checkout

from l2o.cli import main
from l2o.config import files

RESULTS = "results/smoke"
CONFIG = f"{RESULTS}/config.json"
RUN = f"{RESULTS}/meta_train/linear/seed_0/run.json"
SMOKE = ("--config", "scale=smoke")
OTHER = (*SMOKE, "recipe={outer_steps: 16}")


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "fresh")


def steps(checkout) -> int:
    return json.loads((checkout.folder / CONFIG).read_text())["recipes"]["linear"]["outer_steps"]


def test_looking_changes_nothing(checkout):
    checkout.snakemake("--dry-run", *SMOKE, "--", RUN)
    assert not (checkout.folder / "results").exists()
    checkout.snakemake(*SMOKE, "--", RUN)
    before = (checkout.folder / CONFIG).read_bytes()
    for looking in ("--dry-run", "--summary", "--dag", "--list"):
        checkout.snakemake(looking, *OTHER, "--", RUN)
    assert (checkout.folder / CONFIG).read_bytes() == before
    checkout.snakemake(*OTHER, "--", RUN)
    assert steps(checkout) == 16


def test_a_running_workflow_keeps_its_settings(checkout):
    """Others look, and are refused as the directory is locked."""
    (checkout.folder / "hold").touch()
    words = [sys.executable, "-m", "snakemake", "--cores", "1", *SMOKE, "--", RUN]
    running = subprocess.Popen(
        words,
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 60
        while not (checkout.folder / CONFIG).exists() and time.monotonic() < give_up:
            time.sleep(0.1)
        checkout.snakemake("--dry-run", *OTHER, "--", RUN)
        refused = checkout.snakemake(*OTHER, "--", RUN, fails=True)
        assert refused.returncode != 0 and "lock" in (refused.stdout + refused.stderr).lower()
        assert steps(checkout) == 8
        (checkout.folder / "hold").unlink()
        assert running.wait(60) == 0
    finally:
        running.kill()
        running.wait()
    assert steps(checkout) == 8
    assert checkout.planned(*SMOKE, "--", RUN) == {}


def test_a_change_of_settings_reruns_what_depends_on_them_alone(checkout):
    catch = f"{RESULTS}/baselines/catch/run.json"
    checkout.snakemake(*SMOKE, "--", RUN, catch)
    jobs = checkout.planned(*OTHER, "--", RUN, catch)
    assert jobs == {"meta_train": 1, "total": 1}
    assert checkout.planned(*SMOKE, "--", RUN, catch) == {}


def test_jobs_are_told_what_they_were_planned_with(checkout):
    checkout.snakemake(*SMOKE, "--", RUN)
    (call,) = checkout.calls()
    version = call["argv"][call["argv"].index("--expect") + 1]
    assert len(version) == 16 and set(version) <= set("0123456789abcdef")


@pytest.mark.parametrize("changed", ["configuration", "version"])
def test_a_job_refuses_what_it_was_not_planned_with(tmp_path, capsys, changed):
    config = files.build(files.read_yaml("config/config.yaml") | {"scale": "smoke"})
    from l2o.pipeline.contract import job
    from l2o.workflow.versions import Versions

    version = Versions(config).version(job("baselines", task="catch"))
    if changed == "configuration":
        own = config.baselines.model_copy(update={"seeds": 4})
        config = config.model_copy(update={"baselines": own})
    else:
        version = version[::-1]
    files.write(config, tmp_path / "config.json")
    words = ["baselines", "--config", f"{tmp_path}/config.json", "--task", "catch"]
    assert main([*words, "--expect", version, "--out", f"{tmp_path}/out"]) == 2
    said = capsys.readouterr().err
    assert "config.json: this configuration, or the code, is no longer" in said
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("scale", ["smoke", "quick", "paper"])
def test_versions_outlive_the_file(scale, tmp_path):
    """A job reads the configuration from JSON, the workflow made it from YAML."""
    from l2o.workflow.registry import jobs_of, stage_names
    from l2o.workflow.versions import Versions

    config = files.build(files.read_yaml("config/config.yaml") | {"scale": scale})
    files.write(config, tmp_path / "config.json")
    one, other = Versions(config), Versions(files.load(tmp_path / "config.json"))
    for job in (job for name in stage_names() for job in jobs_of(config, name)):
        assert one.version(job) == other.version(job)


class TestElsewhere:
    """Results in another directory than the workflow's."""

    def test_nothing_but_the_snakefile_is_named(self, checkout, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        words = ["-s", f"{checkout.folder}/Snakefile", "--directory", f"{tmp_path}/elsewhere"]
        checkout.snakemake(*words, *SMOKE, "--", RUN)
        assert (tmp_path / "elsewhere" / RUN).is_file()
        assert not (checkout.folder / "results").exists()

    def test_a_sweep_finds_its_table(self, checkout, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        words = ["-s", f"{checkout.folder}/Snakefile", "--directory", f"{tmp_path}/elsewhere"]
        done = checkout.snakemake(*words, "-n", *SMOKE, "--", "sweep_meta_learning_rate")
        assert "train_sweep_meta_learning_rate" in done.stdout + done.stderr

    def test_own_files_come_first(self, checkout, tmp_path):
        own = tmp_path / "elsewhere" / "config"
        shutil.copytree(checkout.folder / "config", own)
        text = (own / "scales/smoke.yaml").read_text()
        (own / "scales/mine.yaml").write_text(text.replace("scale: smoke", "scale: mine"))
        words = ["-s", f"{checkout.folder}/Snakefile", "--directory", f"{tmp_path}/elsewhere"]
        checkout.snakemake(*words, "--config", "scale=mine", "--", RUN.replace("smoke", "mine"))
        assert (tmp_path / "elsewhere/results/mine/config.json").is_file()


def test_files_of_the_configuration_are_found_beside_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = files.__file__.rpartition("/l2o/")[0]
    config = files.build(files.read_yaml(f"{root}/config/config.yaml"), "config", f"{root}/config")
    assert config.sweeps["population"].table == f"{root}/config/sweeps/population.tsv"
    assert config.pretrained["open_public"].weights.startswith(f"{root}/config/pretrained/")
    (tmp_path / "config/sweeps").mkdir(parents=True)
    (tmp_path / "config/sweeps/population.tsv").touch()
    config = files.build(files.read_yaml(f"{root}/config/config.yaml"), "config", f"{root}/config")
    assert config.sweeps["population"].table == "config/sweeps/population.tsv"

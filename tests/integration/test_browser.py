"""What people see in MLflow's pages, with screenshots below `results/test-artifacts`."""

import contextlib
import hashlib
import json
import math
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from browser import Browser, open_browser
from mlflow.tracking import MlflowClient
from serving import ROOT, free_port

from l2o.jobs.record import Run
from l2o.tracking import EXPERIMENT, sync

PICTURES = ROOT / "results" / "test-artifacts"
LEVELS = {
    "optim4rl_b": "staggered (pipeline)",
    "synchronous_resets": "all at once",
    "no_resets": "never",
}
SEEDS = range(3)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The results of a pipeline as its jobs leave them, without the work."""
    root = tmp_path_factory.mktemp("pipeline") / "results"
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("SLURM_", "L2O_", "MLFLOW_")):
                patch.delenv(name)
        patch.setenv("L2O_INVOCATION", "one")
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
        ablations = {"pipeline_training": {"recipes": LEVELS}}
        folder = root / "quick"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"ablations": ablations}))
        for i, recipe in enumerate(LEVELS):
            for seed in SEEDS:
                meta_train(folder / "meta_train" / recipe / f"seed_{seed}", recipe, seed, 3 - i)
            with Run(folder / "levels" / recipe / "toy", **about("level", recipe, task="toy")):
                pass
        for task in ("small_dense_short", "small_dense_long"):
            with Run(folder / "baselines" / task, **about("baselines", None, task=task)):
                pass
        select(folder / "select", b"first", 1.21)
        select(folder / "later" / "select", b"second", 1.08)
        with Run(
            folder / "transfer" / "reacher", **about("transfer", "optim4rl_b", task="reacher")
        ):
            pass
        report = sync(root)
    assert report.errors == [] and report.model_versions == 2
    return root


def about(stage: str, recipe: str | None, seed: int = 0, **tags: str) -> dict:
    tags |= {"scale": "quick"} | ({"recipe": recipe} if recipe else {})
    return {"stage": stage, "config": {"unroll": 4, "agents": 32}, "seed": seed, "tags": tags}


def meta_train(folder: Path, recipe: str, seed: int, quality: int) -> None:
    facts = about("meta_train", recipe, seed, task="small_dense_short")
    with Run(folder, **facts) as run:
        for step in range(2, 121, 2):
            learned = quality * (1 - math.exp(-step / 40))
            returns = learned + 0.1 * math.sin(step + seed) + 0.05 * seed
            metrics = {"return": returns, "actor_loss": -learned / 3}
            run.log(
                step, {f"small_dense_short/{n}": v for n, v in metrics.items()} | {"skipped": 0}
            )
        if seed == 0:
            time.sleep(0.3)  # for some samples of the machine
        run.summary({"final_return": returns, "outer_steps": 120})


def select(folder: Path, weights: bytes, score: float) -> None:
    with Run(folder, **about("select", "optim4rl_b")) as run:
        (folder / "champion.safetensors").write_bytes(weights)
        champion = {
            "checkpoint": "champion.safetensors",
            "sha256": hashlib.sha256(weights).hexdigest(),
            "recipe": "optim4rl_b",
            "seed": 1,
            "outer_step": 120,
            "score": score,
            "validation_tasks": ["small_dense_long"],
        }
        (folder / "champion.json").write_text(json.dumps(champion))
        run.summary({"score": score})


@pytest.fixture(scope="module")
def address(results) -> Iterator[str]:
    """The pages as `make ui` shows them."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    place = [f"ARGS=--results {results}", f"PORT={port}", "ready="]
    log = results / "ui.log"
    with open(log, "w") as file:
        process = subprocess.Popen(
            ["make", "-C", str(ROOT), "ui", *place], env=environment, stdout=file, stderr=file
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(requests.RequestException):
                found = requests.get(
                    f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=60
                )
                if found.ok:
                    break
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        listening = {
            connection.laddr.ip
            for child in psutil.Process(process.pid).children(recursive=True)
            for connection in child.net_connections("inet")
            if connection.status == "LISTEN"
        }
        assert listening == {"127.0.0.1"}
        yield url
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser(address) -> Iterator[Browser]:
    with open_browser() as browser:
        browser.open(address)
        # A panel that asks for a language model, and would hide a third of the page.
        browser.run("localStorage['mlflow.assistant.panelOpen_v1'] = 'false'")
        browser.run("localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] = 'true'")
        yield browser


@pytest.fixture(scope="module")
def experiment(results) -> str:
    uri = f"sqlite:///{results / 'mlflow.db'}"
    return MlflowClient(uri, uri).get_experiment_by_name(EXPERIMENT).experiment_id


def page(address: str, experiment: str, view: str, mode: str) -> str:
    query = f"viewStateShareKey={view}&compareRunsMode={mode}&workflowType=machine_learning"
    return f"{address}/#/experiments/{experiment}/runs?{query}"


def test_the_runs_of_the_pipeline_are_listed(address, browser, experiment):
    browser.open(page(address, experiment, "jobs", "TABLE"))
    names = [f"{recipe} · seed {seed} · meta_train" for recipe in LEVELS for seed in SEEDS]
    shown = browser.wait_for(names[0], "optim4rl_b · select")
    browser.screenshot(PICTURES / "runs.png")
    missing = [name for name in names if name not in shown]
    assert missing == []
    assert "recipe optim4rl_b" in shown


def test_the_description_tells_what_to_look_at(address, browser, experiment):
    browser.open(f"{address}/#/experiments/{experiment}/runs")
    browser.wait_for("Start here", "Ablations")
    links = browser.run("return [...document.querySelectorAll('a')].map(a => a.href)")
    link = next(link for link in links if "viewStateShareKey=pipeline_training" in link)
    browser.screenshot(PICTURES / "description.png")
    browser.open(link)
    browser.wait_for("Group by: ablation_pipeline_training", *LEVELS.values())


def test_an_ablation_is_compared_as_curves(address, browser, experiment):
    browser.open(page(address, experiment, "pipeline_training", "CHART"))
    shown = browser.wait_for(
        "small_dense_short/return",
        *LEVELS.values(),
        selector=".js-plotly-plot .scatterlayer .js-line",
    )
    browser.screenshot(PICTURES / "ablation.png")
    # The curves come before everything else.
    sections = [
        re.search(rf"\n{name}\s+\(\d+\)", shown) for name in ("small_dense_short", "result")
    ]
    assert sections[0].start() < sections[1].start()
    curves = browser.count(".js-plotly-plot .scatterlayer .js-line")
    assert curves >= len(LEVELS)


def test_the_champion_is_in_the_registry(address, browser):
    browser.open(f"{address}/#/models/l2o-optimizer")
    shown = browser.wait_for("@ champion", "@ candidate")
    browser.screenshot(PICTURES / "registry.png")
    assert "Version 1" in shown and "Version 2" in shown


def test_a_run_shows_its_machine(address, browser, experiment, results):
    folder = results / "quick" / "meta_train" / "optim4rl_b" / "seed_0"
    run = json.loads((folder / ".mlflow.json").read_text())["run_id"]
    browser.open(f"{address}/#/experiments/{experiment}/runs/{run}/system-metrics")
    browser.wait_for("process_memory_usage_megabytes", selector=".js-plotly-plot")
    browser.screenshot(PICTURES / "system.png")

"""The MLflow server of `workflow/scripts/mlflow-server`, and jobs that log to it while they run."""

import configparser
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from logging_job import values
from serving import Server, running_server

from l2o.files import read_json
from l2o.jobs.history import read_history
from l2o.tracking import EXPERIMENT, RUN_KEY_TAG, sync

JOB = Path(__file__).with_name("logging_job.py")
JOBS, STEPS, METRICS = 32, 2500, 4
SECONDS = 25.0
OUTAGE = float(os.environ.get("L2O_OUTAGE", "3"))  # seconds; 60 for a whole minute


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def results(server, tmp_path, monkeypatch) -> Path:
    """A folder of results whose jobs log to the server."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "L2O_", "MLFLOW_")):
            monkeypatch.delenv(name)
    for name, value in server.credentials.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def start(folder: Path, *arguments: Any, impatient: bool = True) -> subprocess.Popen:
    options = ["--impatient"] if impatient else []
    command = [sys.executable, str(JOB), *options, str(folder), *map(str, arguments)]
    environment = os.environ.copy()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(job: subprocess.Popen) -> dict[str, float]:
    out, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    return json.loads(out) | {"warnings": err.count("not everything was delivered")}


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)
    return value


def query(server: Server, sql: str) -> list[tuple]:
    """Ask the database itself, past MLflow, as the server's owner can."""
    import psycopg2

    settings = configparser.RawConfigParser()
    settings.read(server.folder / "auth.ini")
    uri = (
        settings["mlflow"]["database_uri"]
        .replace("+psycopg2", "")
        .replace("/mlflow_auth", "/mlflow")
    )
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def stored(server: Server, folder: Path) -> list[tuple[str, int, float]]:
    """Every point that the database has of the jobs of a folder, also of deleted runs."""
    run = read_json(folder / ".mlflow.json")["run_id"]
    sql = f"select key, step, value from metrics where run_uuid = '{run}' and key like 'task/%'"
    return sorted(query(server, sql))


def logged(folder: Path) -> list[tuple[str, int, float]]:
    return sorted(
        (name, line["step"], value)
        for line in read_history(folder)
        for name, value in line["metrics"].items()
    )


def delivered_steps(server: Server, folder: Path) -> int:
    """The last step that the server has of a job."""
    if not (folder / ".mlflow.json").exists():
        return 0
    return max((step for _, step, _ in stored(server, folder)), default=0)


def test_nobody_comes_in_without_the_password(server):
    api = f"{server.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
    artifacts = f"{server.uri}/api/2.0/mlflow-artifacts/artifacts"
    for address in (api, artifacts, f"{server.uri}/"):
        assert requests.get(address, timeout=60).status_code == 401
        for user in (("admin", "wrong"), ("admin", "password1234"), ("root", server.password)):
            assert requests.get(address, auth=user, timeout=60).status_code == 401
    assert requests.get(api, auth=("admin", server.password), timeout=60).ok


def test_it_keeps_to_this_machine_and_keeps_its_secrets(server):
    processes = server.processes()
    names = " ".join(process.info["name"] for process in processes)
    assert "postgres" in names
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.info["net_connections"]
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
    secrets = [
        (server.folder / name).read_text()
        for name in ("password", "database-password", "secret-key")
    ]
    assert len(set(secrets)) == 3 and all(len(secret) >= 32 for secret in secrets)
    lines = [" ".join(process.info["cmdline"]) for process in processes]
    logs = [path.read_text() for path in server.folder.glob("*.log")]
    for text in [*lines, *logs]:
        assert not any(secret in text for secret in secrets)
    for name in ("password", "database-password", "secret-key", "auth.ini", "server.log"):
        mode = (server.folder / name).stat().st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0 or name == "server.log"
    assert stat.S_IMODE((server.folder / "postgres").stat().st_mode) == 0o700


def test_many_jobs_at_once(server, results, monkeypatch):
    monkeypatch.setenv("L2O_INVOCATION", "many")
    folders = [results / str(i) for i in range(JOBS)]
    jobs = [start(folder, 1, STEPS, SECONDS, impatient=False) for folder in folders]
    measures = [finish(job) for job in jobs]
    live = query(server, "select count(*) from metrics where key like 'task/%'")[0][0]
    report = sync(results)
    assert report.errors == []

    # What a job lost: the processor time of the thread that delivers, which is also the longest
    # that it can hold up the job's own thread, and that of the calls, with a server or without.
    # Not the clock: so many processes on few cores wait for each other whatever they do.
    shares = [(m["delivery_cpu"] + m["logging_cpu"]) / SECONDS for m in measures]
    worst = {name: round(max(m[name] for m in measures), 3) for name in measures[0]}
    print(
        f"{live} of {JOBS * STEPS * METRICS} points live, largest share {max(shares):.4f}, {worst}"
    )
    assert max(shares) < 0.05
    assert max(m["farewell"] for m in measures) < 6
    assert live > 0

    rows = query(
        server,
        "select run_uuid, count(*), count(distinct (key, step)), sum(value) from metrics "
        "where key like 'task/%' group by run_uuid",
    )
    total = sum(sum(values(step).values()) for step in range(1, STEPS + 1))
    runs = {read_json(folder / ".mlflow.json")["run_id"] for folder in folders}
    assert len(runs) == JOBS
    expected = {(run, STEPS * METRICS, STEPS * METRICS, total) for run in runs}
    assert {row for row in rows if row[0] in runs} == expected
    assert len(rows) == JOBS
    parents = query(server, "select distinct value from tags where key = 'mlflow.parentRunId'")
    assert len(parents) == 1
    again = sync(results)
    assert (again.errors, again.delivered, again.points) == ([], 0, 0)


def test_a_job_is_hardly_slower_with_a_server(server, results, monkeypatch):
    jobs = [start(results / "with", 1, STEPS, 0, impatient=False)]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # At the same time: the same machine.
    jobs.append(start(results / "without", 1, STEPS, 0, impatient=False))
    measures = [finish(job) for job in jobs]
    took = [round(m["cpu"], 3) for m in measures]
    print(
        f"{took} s of processor time with and without, {measures[0]['delivery_cpu']:.3f} s delivery"
    )
    assert delivered_steps(server, results / "with") > 0
    assert took[0] < 1.05 * took[1]


def test_a_killed_job_goes_on_in_its_run(server, results):
    folder, whole = results / "killed", results / "whole"
    job = start(folder, 1, 400, 20)
    wait_for(lambda: delivered_steps(server, folder) > 100)
    job.kill()
    job.communicate()
    before = read_json(folder / ".mlflow.json")["run_id"]
    reached = delivered_steps(server, folder)
    assert reached > 50
    # It was saved before it was killed: the steps from 51 on are logged a second time.
    finish(start(folder, 51, 400, 2))
    finish(start(whole, 1, 400, 2))
    assert sync(results).errors == []
    assert read_json(folder / ".mlflow.json")["run_id"] == before
    assert stored(server, folder) == logged(folder) == logged(whole) == stored(server, whole)
    assert sync(results).points == 0


def test_jobs_outlive_the_server(server, results):
    folder, end = results / "long", results / "end"
    job = start(folder, 1, 200, 10, end)  # 20 steps a second, until it is told to end
    steps = lambda: sum(1 for _ in read_history(folder))  # noqa: E731
    wait_for(lambda: delivered_steps(server, folder) > 10)

    with server.frozen():  # it accepts connections, and says nothing
        reached = steps()
        time.sleep(OUTAGE)
        meanwhile = steps() - reached
        assert meanwhile > 10 * OUTAGE, "the job waits for the server"
        wait_for(lambda: steps() > reached + 60)
    print(f"no answer for {OUTAGE:g} s: the job logged {meanwhile} steps meanwhile")
    wait_for(lambda: delivered_steps(server, folder) > reached + 60)

    assert server.stop() == 0
    reached = steps()
    wait_for(lambda: steps() > reached + 60)
    end.touch()
    measures = finish(job)
    assert measures["warnings"] == 1
    assert measures["farewell"] < 6 and measures["longest"] < 1
    report = sync(results)
    assert "cannot reach the server" in report.errors[0]

    server.start()
    assert delivered_steps(server, folder) < measures["last"]
    report = sync(results)
    assert report.errors == [] and report.delivered == 1
    assert stored(server, folder) == logged(folder)
    assert len(logged(folder)) == METRICS * measures["last"]
    again = sync(results)
    assert (again.errors, again.delivered, again.points) == ([], 0, 0)


def test_a_run_has_everything(server, results, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.3")
    folder = results / "small"
    finish(start(folder, 1, 100, 3))
    (folder / "figure.svg").write_text("<svg/>")
    client = MlflowClient(server.uri, server.uri)
    run = client.get_run(read_json(folder / ".mlflow.json")["run_id"])
    assert run.info.status == "FINISHED"  # at once, though there is more to come
    assert sync(results).errors == []
    run = client.get_run(run.info.run_id)
    assert run.data.tags[RUN_KEY_TAG] == read_json(folder / "run.json")["run_key"]
    assert run.data.params == {"lr": "0.1", "seed": "1"}
    assert {"system/process_memory_usage_megabytes", "time/total_s"} <= run.data.metrics.keys()
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["recipe r"]
    names = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert names == ["figure.svg", "run.json"]
    assert client.get_experiment_by_name(EXPERIMENT).artifact_location.startswith(
        "mlflow-artifacts:"
    )

import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from l2o.jobs.history import read_history
from l2o.jobs.reading import find_jobs
from l2o.jobs.record import Run
from l2o.tracking import (
    EXPERIMENT,
    RUN_KEY_TAG,
    default_tracking_uri,
    main_sync,
    main_ui,
    run_url,
    sync,
)
from l2o.tracking.description import experiment_tags
from l2o.tracking.live import follow_jobs

# With three metrics each, one batch of 1000 points and a bit.
STEPS = 350
CONFIG = {"seed": 1, "optimizer": {"name": "optim4rl", "hidden": [8, 8]}, "note": "x" * 2000}


def run_job(folder: Path, steps: int = 3, **tags: Any) -> None:
    tags = {"recipe": "optim4rl", "scale": "smoke"} | tags
    with Run(folder, stage="meta_train", config=CONFIG, seed=1, tags=tags) as run:
        for step in range(steps):
            run.log(step, {"loss": 1 / (step + 1), "return": step * 0.5, "nan": math.nan})
        run.summary({"best_return": 0.25, "label": "not a number"})
        (folder / "curves.parquet").write_bytes(b"table")
        (folder / "figure.svg").write_text("<svg/>")
        (folder / "final.safetensors").write_bytes(b"weights")


def select(
    folder: Path, weights: bytes = b"best", scale: str = "smoke", **facts: float | list[str]
) -> str:
    digest = hashlib.sha256(weights).hexdigest()
    with Run(folder, stage="select", config={}, tags={"scale": scale}):
        (folder / "best.safetensors").write_bytes(weights)
        champion = {"checkpoint": "best.safetensors", "sha256": digest, "recipe": "a", "step": 3}
        champion |= facts
        (folder / "champion.json").write_text(json.dumps(champion))
    return digest


def client(results: Path) -> MlflowClient:
    uri = f"sqlite:///{results / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def runs(results: Path) -> list[Any]:
    store = client(results)
    experiment = store.get_experiment_by_name(EXPERIMENT)
    return store.search_runs([experiment.experiment_id], "", ViewType.ALL)


def children(results: Path) -> list[Any]:
    return [run for run in runs(results) if RUN_KEY_TAG in run.data.tags]


def history(results: Path, run: Any, name: str) -> list[tuple[int, float, int]]:
    points = client(results).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def content(results: Path) -> list[Any]:
    """Everything that MLflow holds, without the random ids of its runs."""
    store = client(results)
    dump = []
    for run in runs(results):
        tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
        metrics = {name: repr(history(results, run, name)) for name in run.data.metrics}
        artifacts = sorted(item.path for item in store.list_artifacts(run.info.run_id))
        times = (run.info.start_time, run.info.end_time)
        has_parent = "mlflow.parentRunId" in run.data.tags
        dump.append((tags, run.data.params, metrics, artifacts, times, run.info.status, has_parent))
    versions = [(v.version, v.tags) for v in store.search_model_versions()]
    aliases = [model.aliases for model in store.search_registered_models()]
    return [sorted(dump, key=repr), versions, aliases]


class TestDelivery:
    def test_everything_arrives(self, results, monkeypatch):
        monkeypatch.setenv("SLURM_JOB_ID", "77")
        folder = results / "smoke" / "meta_train" / "optim4rl" / "1"
        run_job(folder, steps=STEPS)
        (folder / "table.parquet").write_bytes(bytes(5_000_000))
        (folder / "notes.txt").write_text("not an artifact")
        report = sync(results)
        assert report.errors == []
        assert (report.delivered, report.unchanged, report.artifacts) == (1, 0, 4)

        (run,) = runs(results)
        record = json.loads((folder / "run.json").read_text())
        assert run.info.run_name == "optim4rl · seed 1 · meta_train"
        assert run.info.status == "FINISHED"
        assert run.info.end_time - run.info.start_time < 60_000
        for tag, value in {"stage": "meta_train", "seed": "1", "scale": "smoke"}.items():
            assert run.data.tags[tag] == value
        assert run.data.tags["slurm_job_id"] == "77"
        identity = record["run_key"]
        assert run.data.tags[RUN_KEY_TAG] == identity

        assert run.data.params["optimizer.hidden"] == "[8, 8]"
        assert run.data.params["seed"] == "1"
        assert len(run.data.params["note"]) == 500

        expected = [
            (line["step"], line["metrics"]["loss"], round(line["time"] * 1000))
            for line in read_history(folder)
        ]
        assert history(results, run, "loss") == expected
        assert len(history(results, run, "nan")) == STEPS
        assert run.data.metrics["result/best_return"] == 0.25
        assert "result/label" not in run.data.metrics
        assert run.data.metrics["time/total_s"] == record["timings"]["total_s"]
        assert run.data.metrics["memory/peak_bytes"] == record["peak_memory_bytes"]

        names = [item.path for item in client(results).list_artifacts(run.info.run_id)]
        assert names == ["curves.parquet", "figure.svg", "final.safetensors", "run.json"]
        assert run.info.artifact_uri.startswith((results / "mlartifacts").as_uri())
        sidecar = json.loads((folder / ".mlflow.json").read_text())
        assert (sidecar["run_id"], sidecar["run_key"]) == (run.info.run_id, identity)
        place = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        assert sidecar["url"] == f"http://127.0.0.1:5000/#/{place}"
        (job,) = find_jobs(results / "smoke", [])
        assert job.mlflow_url() == sidecar["url"]

    def test_settings_are_inputs_and_seeds_share_them(self, results):
        for name, rate in [("a", 0.1), ("b", 0.1), ("c", 0.2)]:
            tags = {"recipe": "r", "scale": "smoke"}
            with Run(results / name, stage="meta_train", config={"lr": rate}, tags=tags):
                pass
        with Run(results / "d", stage="tune", config={"long": "x" * 100_000}):
            pass
        assert sync(results).errors == []
        inputs = []
        for run in sorted(runs(results), key=lambda run: run.info.start_time):
            (one,) = run.inputs.dataset_inputs
            inputs.append((one.dataset.name, one.dataset.digest, one.tags[0].value))
            assert len(one.dataset.source) < 65_536
        assert [name for name, *_ in inputs] == ["recipe r"] * 3 + ["tune settings"]
        assert inputs[0] == inputs[1] and inputs[1][1] != inputs[2][1]
        text = hashlib.sha256(b'{"lr": 0.1}').hexdigest()
        assert text.startswith(inputs[0][1]) and inputs[0][2] == "recipe"

    def test_samples_of_the_machine_are_system_metrics(self, results, monkeypatch):
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
        with Run(results / "a", stage="x", config={}):
            time.sleep(0.35)
        assert sync(results).errors == []
        (run,) = runs(results)
        points = history(results, run, "system/process_memory_usage_megabytes")
        assert [step for step, *_ in points] == list(range(1, len(points) + 1))
        assert len(points) >= 2 and all(10 < value < 1e5 for _, value, _ in points)

    def test_a_job_from_before_identities_is_known_by_its_place(self, results):
        run_job(results / "a")
        record = json.loads((results / "a" / "run.json").read_text())
        del record["run_key"]
        (results / "a" / "run.json").write_text(json.dumps(record))
        assert sync(results).delivered == 1
        assert sync(results).unchanged == 1
        assert runs(results)[0].data.tags[RUN_KEY_TAG] == f"a@{record['started']}"

    def test_a_copy_of_a_job_is_the_same_job(self, results):
        run_job(results / "a")
        shutil.copytree(results / "a", results / "copies" / "a")
        report = sync(results)
        assert (report.errors, len(runs(results))) == ([], 1)

    def test_a_second_sync_adds_nothing(self, results, monkeypatch):
        monkeypatch.setenv("L2O_INVOCATION", "one")
        run_job(results / "a")
        select(results / "b")
        assert sync(results).delivered == 2
        before = content(results)

        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("written again")

        writing = ("log_batch", "log_artifact", "create_run", "set_terminated", "log_inputs")
        for name in (*writing, "set_experiment_tag", "set_registered_model_alias"):
            monkeypatch.setattr(MlflowClient, name, refuse)
        report = sync(results)
        assert report.errors == []
        counts = (report.delivered, report.unchanged, report.points, report.artifacts)
        assert counts == (0, 2, 0, 0)
        monkeypatch.undo()
        assert content(results) == before

    def test_jobs_of_one_invocation_have_one_ended_parent(self, results, monkeypatch):
        for invocation, folder in [("one", "a"), ("one", "b"), ("two", "c")]:
            monkeypatch.setenv("L2O_INVOCATION", invocation)
            run_job(results / folder)
            # The second job of an invocation may be delivered long after the first.
            assert sync(results).errors == []
        monkeypatch.delenv("L2O_INVOCATION")
        run_job(results / "alone")
        assert sync(results).errors == []
        everything = {run.info.run_id: run for run in runs(results)}
        assert len(everything) == 6
        families: dict[str, int] = {}
        for run in children(results):
            parent = everything.get(run.data.tags.get("mlflow.parentRunId", ""))
            if parent is None:
                alone = json.loads((results / "alone" / "run.json").read_text())
                assert run.data.tags[RUN_KEY_TAG] == alone["run_key"]
                continue
            families[parent.data.tags["l2o.invocation"]] = (
                families.get(parent.data.tags["l2o.invocation"], 0) + 1
            )
            assert parent.info.run_name.startswith("smoke 20")
            assert parent.info.status == "FINISHED"
            assert parent.info.start_time <= run.info.start_time
            assert parent.info.end_time >= run.info.end_time
        assert families == {"one": 2, "two": 1}

    def test_two_syncs_at_once_deliver_once(self, results):
        run_job(results / "a")
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(sync, [results, results]))
        assert sorted((r.delivered, r.unchanged) for r in reports) == [(0, 1), (1, 0)]
        assert len(runs(results)) == 1

    def test_a_job_that_ran_again_is_a_new_run(self, results):
        run_job(results / "a")
        sync(results)
        run_job(results / "a")
        (job,) = find_jobs(results, [])
        assert job.mlflow_url() is None, "the address of the former run"
        assert sync(results).delivered == 1
        ids = {run.info.run_id for run in children(results)}
        assert len(ids) == 2
        assert json.loads((results / "a" / ".mlflow.json").read_text())["run_id"] in ids

    def test_a_failed_job_is_a_failed_run_and_an_unfinished_one_waits(self, results):
        with (
            pytest.raises(ValueError, match="bad"),
            Run(results / "a", stage="select", config={}) as run,
        ):
            run.log(1, {"score": 1.0})
            raise ValueError("bad")
        (results / "b").mkdir()
        (results / "b" / "metrics.jsonl").write_text('{"step": 1, "time": 1, "metrics": {}}\n')
        assert sync(results).delivered == 1
        (run,) = runs(results)
        assert run.info.status == "FAILED"
        assert run.data.tags["error"] == "ValueError: bad"
        assert [step for step, *_ in history(results, run, "score")] == [1]

    def test_a_run_deleted_by_the_user_stays_deleted(self, results):
        run_job(results / "a")
        sync(results)
        client(results).delete_run(runs(results)[0].info.run_id)
        assert sync(results).unchanged == 1
        assert len(runs(results)) == 1

    def test_resume_state_and_stored_artifacts_are_not_results(self, results):
        run_job(results / "a")
        for copy in ("smoke/.state/a", "mlartifacts/1/artifacts"):
            shutil.copytree(results / "a", results / copy)
        assert sync(results).delivered == 1
        assert sync(results).unchanged == 1

    @pytest.mark.parametrize("text", ["{", "5", "{}"])
    def test_an_unreadable_record_does_not_keep_others_back(self, results, text):
        run_job(results / "a")
        (results / "b").mkdir()
        (results / "b" / "run.json").write_text(text)
        report = sync(results)
        assert report.delivered == 1
        assert len(report.errors) == 1
        assert str(results / "b" / "run.json") in report.errors[0]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory, empty_store) -> tuple[Path, list[Any]]:
    """The files of two jobs, and what an uninterrupted sync of them leaves behind."""
    files = tmp_path_factory.mktemp("files")
    shutil.copy(empty_store, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L2O_INVOCATION", "one")
        run_job(files / "a", steps=STEPS)
        select(files / "b")
    copy = shutil.copytree(files, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True)
    report = sync(copy)
    assert (report.errors, report.delivered) == ([], 2)
    return files, content(copy)


class TestInterruption:
    @pytest.fixture
    def jobs(self, delivered, tmp_path) -> Path:
        return shutil.copytree(delivered[0], tmp_path / "results")

    @pytest.fixture
    def expected(self, delivered) -> list[Any]:
        return delivered[1]

    @pytest.mark.parametrize(
        ("method", "call", "after"),
        [
            ("create_run", 2, True),
            ("log_batch", 1, True),
            ("log_batch", 2, False),
            ("log_batch", 2, True),
            ("log_artifact", 2, True),
            ("log_inputs", 1, True),
            ("create_model_version", 1, True),
            ("set_registered_model_alias", 1, True),
            ("set_terminated", 1, False),
            ("set_terminated", 3, False),
        ],
    )
    def test_a_sync_that_broke_off_is_completed(
        self, jobs, expected, monkeypatch, method, call, after
    ):
        original, calls = getattr(MlflowClient, method), 0

        def fail_once(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            result = original(*args, **kwargs) if calls != call or after else None
            if calls == call:
                raise KeyError("interrupted")
            return result

        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, fail_once)
            report = sync(jobs)
        assert calls >= call
        assert len(report.errors) == 1
        assert sync(jobs).errors == []
        assert content(jobs) == expected
        assert sync(jobs).points == 0

    def test_a_killed_sync_is_completed(self, jobs, expected):
        code = f"""
import os, signal
from mlflow.tracking import MlflowClient
from l2o.tracking import sync
log_batch = MlflowClient.log_batch
def die_after_the_first_batch_of_metrics(*args, **kwargs):
    log_batch(*args, **kwargs)
    if "metrics" in kwargs:
        os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.log_batch = die_after_the_first_batch_of_metrics
sync({str(jobs)!r})
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        (run,) = children(jobs)
        assert run.info.status == "RUNNING"
        written = sum(len(history(jobs, run, name)) for name in run.data.metrics)
        assert written == 1000
        report = sync(jobs)
        assert report.errors == []
        assert report.delivered == 2
        assert content(jobs) == expected


class TestOwnRuns:
    """What jobs that log to a server themselves leave behind; the rest is in tests/integration."""

    def begin(self, results: Path, folder: str, **points: list[float]) -> str:
        """Make the run that a job would have made, with some of its points."""
        store = client(results)
        experiment = store.create_experiment(EXPERIMENT, (results / "mlartifacts").as_uri())
        record = json.loads((results / folder / "run.json").read_text())
        tags = {RUN_KEY_TAG: record["run_key"], "l2o.delivery": "live"}
        run = store.create_run(experiment, tags=tags).info.run_id
        times = {
            line["step"]: round(line["time"] * 1000) for line in read_history(results / folder)
        }
        for name, values in points.items():
            for step, value in enumerate(values):
                store.log_metric(run, name, value, times[step], step)
        return run

    @pytest.mark.parametrize("status", ["RUNNING", "FINISHED", "SCHEDULED"])
    def test_they_are_completed(self, results, status):
        run_job(results / "a")
        run = self.begin(results, "a", loss=[1.0, 0.5], nan=[math.nan])
        client(results).update_run(run, status)
        report = sync(results)
        assert (report.errors, report.delivered) == ([], 1)
        (done,) = runs(results)
        assert (done.info.run_id, done.info.status) == (run, "FINISHED")
        assert done.data.tags["stage"] == "meta_train" and done.data.params["seed"] == "1"
        assert [(s, v) for s, v, _ in history(results, done, "loss")] == [
            (0, 1),
            (1, 0.5),
            (2, 1 / 3),
        ]
        assert len(history(results, done, "nan")) == 3
        assert sync(results).unchanged == 1

    @pytest.mark.parametrize("loss", [[0.9], [1.0, 0.5, 1 / 3 + 1e-9]])
    def test_one_that_contradicts_the_files_is_replaced(self, results, loss, monkeypatch):
        run_job(results / "a")
        run = self.begin(results, "a", loss=loss)
        with monkeypatch.context() as patch:  # interrupted at the worst place
            patch.setattr(MlflowClient, "delete_run", lambda *_: 1 / 0)
            assert len(sync(results).errors) == 1
        assert sync(results).errors == []
        states = {r.info.run_id: r.info.lifecycle_stage for r in runs(results)}
        assert states.pop(run) == "deleted" and list(states.values()) == ["active"]
        done = client(results).get_run(next(iter(states)))
        assert [v for _, v, _ in history(results, done, "loss")] == [1, 0.5, 1 / 3]
        assert sync(results).unchanged == 1

    def test_of_two_parents_one_stays(self, results, monkeypatch):
        monkeypatch.setenv("L2O_INVOCATION", "one")
        run_job(results / "a")
        run = self.begin(results, "a")
        store = client(results)
        experiment = store.get_run(run).info.experiment_id
        older, newer = (
            store.create_run(experiment, when, {"l2o.invocation": "one"}).info.run_id
            for when in (5, 6)
        )
        store.set_tag(run, "mlflow.parentRunId", newer)
        assert sync(results).errors == []
        assert store.get_run(run).data.tags["mlflow.parentRunId"] == older
        assert store.get_run(newer).info.lifecycle_stage == "deleted"
        assert store.get_run(older).info.status == "FINISHED"

    def test_a_job_does_not_mind_that_there_is_no_server(self, tmp_path, monkeypatch, capfd):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
        monkeypatch.setattr(Run, "follow", None)  # restored afterwards
        follow_jobs()
        began = time.monotonic()
        run_job(tmp_path / "a")
        assert time.monotonic() - began < 3
        error = capfd.readouterr().err
        assert "http://127.0.0.1:9: not everything was delivered" in error
        assert "secret" not in error and error.count("\n") == 1


class TestDescription:
    ABLATIONS: ClassVar = {"resets": {"recipes": {"optim4rl": "staggered", "other": "never"}}}

    def describe(self, results: Path) -> dict[str, str]:
        assert sync(results).errors == []
        return client(results).get_experiment_by_name(EXPERIMENT).tags

    def test_ablations_are_labels_and_views(self, results):
        (results / "config.json").write_text(json.dumps({"ablations": self.ABLATIONS}))
        run_job(results / "meta_train" / "optim4rl" / "seed_1")
        run_job(results / "meta_train" / "unrelated", recipe="unrelated")
        tags = self.describe(results)
        labels = {run.info.run_name: run.data.tags for run in runs(results)}
        assert labels["optim4rl · seed 1 · meta_train"]["ablation_resets"] == "staggered"
        assert "ablation_resets" not in labels["unrelated · seed 1 · meta_train"]
        view = json.loads(tags["mlflow.sharedViewState.resets"])
        store = client(results)
        experiment = store.get_experiment_by_name(EXPERIMENT).experiment_id
        (found,) = store.search_runs([experiment], view["searchFilter"])
        assert found.data.tags["recipe"] == "optim4rl"
        assert view["groupBy"]["groupByKeys"][0]["groupByData"] == "ablation_resets"
        assert "viewStateShareKey=resets" in tags["mlflow.note.content"]

    def test_what_people_wrote_stays(self, results):
        run_job(results / "a")
        written = self.describe(results)["mlflow.note.content"]
        assert "champion" in written
        store = client(results)
        experiment = store.get_experiment_by_name(EXPERIMENT).experiment_id
        store.set_experiment_tag(experiment, "mlflow.note.content", "ours")
        assert self.describe(results)["mlflow.note.content"] == "ours"

    def test_what_was_written_here_is_brought_up_to_date(self, results):
        run_job(results / "a")
        before = self.describe(results)["mlflow.note.content"]
        (results / "config.json").write_text(json.dumps({"ablations": self.ABLATIONS}))
        run_job(results / "b")
        after = self.describe(results)["mlflow.note.content"]
        assert "resets" in after and "resets" not in before

    def test_it_fits_however_many_ablations_there_are(self):
        tags = experiment_tags([f"{'x' * 60}{i}" for i in range(100)], ["x" * 60] * 50, "1")
        assert len(tags["mlflow.note.content"]) <= 5000
        assert all(len(text) <= 5000 for text in tags.values())


class TestRegistry:
    def champion(self, results: Path, alias: str = "champion") -> Any:
        return client(results).get_model_version_by_alias("l2o-optimizer", alias)

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
    def test_the_best_is_champion_and_the_newest_candidate(self, results, tmp_path, order):
        digests = []
        for i, score in enumerate([0.9, 1.2, 1.1]):
            weights = f"weights {i}".encode()
            name = tmp_path / "away" / str(i)
            digests.append(select(name, weights, score=score, validation_tasks=["a"]))
        for i in order:
            shutil.move(tmp_path / "away" / str(i), results / str(i))
            assert sync(results).model_versions == 1
        assert self.champion(results).tags["sha256"] == digests[1]
        assert self.champion(results, "candidate").tags["sha256"] == digests[2]
        assert "score 1.200" in self.champion(results).description

    def test_an_equal_score_is_enough_and_other_tasks_do_not_compare(self, results):
        for i, (score, task) in enumerate([(1.0, "a"), (1.0, "a"), (0.1, "b"), (0.05, "b")]):
            digest = select(results / str(i), str(i).encode(), score=score, validation_tasks=[task])
            sync(results)
            is_champion = self.champion(results).tags["sha256"] == digest
            assert is_champion == (i != 3)
            assert self.champion(results, "candidate").tags["sha256"] == digest

    def test_every_scale_has_its_champion(self, results):
        large = select(results / "a", b"large", "paper", score=1.0)
        small = select(results / "b", b"small", "smoke", score=0.5)
        sync(results)
        aliases = ("champion", "champion-paper", "champion-smoke")
        found = [self.champion(results, alias).tags["sha256"] for alias in aliases]
        assert found == [small, large, small]

    def test_the_alias_gives_the_selected_weights(self, results, tmp_path, monkeypatch):
        digest = select(results / "select")
        report = sync(results)
        assert (report.errors, report.model_versions) == ([], 1)
        version = self.champion(results)
        assert version.tags["sha256"] == digest
        assert (version.tags["recipe"], version.tags["step"]) == ("a", "3")
        assert version.run_id == runs(results)[0].info.run_id

        monkeypatch.setenv("MLFLOW_TRACKING_URI", default_tracking_uri(results))
        folder = mlflow.artifacts.download_artifacts(
            "models:/l2o-optimizer@champion", dst_path=str(tmp_path / "download")
        )
        (weights,) = Path(folder).rglob("*.safetensors")
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == digest

    def test_the_latest_selection_wins_whatever_the_order_of_delivery(self, results, tmp_path):
        select(tmp_path / "late")
        newer = select(results / "select", b"newer")
        sync(results)
        shutil.move(tmp_path / "late", results / "late")
        assert sync(results).model_versions == 1
        assert self.champion(results).tags["sha256"] == newer

    def test_changed_weights_are_not_published(self, results):
        select(results / "select")
        (results / "select" / "best.safetensors").write_bytes(b"other")
        (error,) = sync(results).errors
        assert "has changed since it was selected" in error
        assert client(results).search_registered_models() == []

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"sha256": "0"}, "needs 'checkpoint' and 'sha256'"),
            ({"sha256": "0", "checkpoint": "best.pkl"}, "not an existing .safetensors file"),
            ({"sha256": "0", "checkpoint": "no.safetensors"}, "not an existing .safetensors file"),
        ],
    )
    def test_a_bad_champion_file_is_named(self, results, content, message):
        select(results / "select")
        (results / "select" / "best.pkl").write_bytes(b"")
        (results / "select" / "champion.json").write_text(json.dumps(content))
        (error,) = sync(results).errors
        assert message in error
        assert "champion.json" in error


class TestCommand:
    def test_it_says_what_was_delivered_and_how_to_browse(self, results, capfd):
        run_job(results / "a")
        assert main_sync(results) == 0
        output = capfd.readouterr()
        uri = f"sqlite:///{results / 'mlflow.db'}"
        assert output.out.splitlines() == [
            f"{uri}: 1 run(s) delivered, 0 already there "
            "(15 metric points, 4 artifacts, 0 model version(s))",
            "browse: make ui, or l2o track ui",
        ]
        assert output.err == ""

    def test_an_unreachable_server_is_reported_soon(self, results, capfd):
        run_job(results / "a")
        run_job(results / "b")
        began = time.monotonic()
        assert main_sync(results, "http://user:secret@127.0.0.1:9") == 1
        assert time.monotonic() - began < 15
        output = capfd.readouterr()
        assert output.err.count("\n") == 1
        assert "cannot reach the server" in output.err
        assert "secret" not in output.out + output.err
        assert sync(results).delivered == 2

    def test_a_pipeline_does_not_fail_with_its_store(self, results, tmp_path):
        run_job(results / "a")
        assert main_sync(results, "http://127.0.0.1:9", tmp_path / "tracking.json") == 0
        assert json.loads((tmp_path / "tracking.json").read_text())["errors"]
        (job,) = find_jobs(results, [])
        assert job.mlflow_url() is None

    def test_problems_are_reported_not_raised(self, tmp_path, capfd):
        assert "no such directory" in sync(tmp_path / "none").errors[0]
        run_job(tmp_path / "a")
        (tmp_path / "mlflow.db").write_text("not a database, but long enough to be looked at")
        (error,) = sync(tmp_path).errors
        assert "not a database" in error
        assert capfd.readouterr().err == ""

    def test_the_pages_of_a_server_are_its_own(self, tmp_path, monkeypatch, capfd):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@server:5000")
        assert main_ui(tmp_path) == 0
        assert capfd.readouterr().out == "browse: http://server:5000\n"

    def test_nothing_to_deliver(self, tmp_path):
        assert main_sync(tmp_path) == 0
        assert list(tmp_path.iterdir()) == []

    def test_the_environment_chooses_the_store(self, tmp_path, monkeypatch):
        assert default_tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
        assert default_tracking_uri(tmp_path) == "http://server:5000"

    @pytest.mark.parametrize(
        ("uri", "base"),
        [
            ("sqlite:////data/results/mlflow.db", "http://127.0.0.1:5000"),
            ("http://server:5000", "http://server:5000"),
            ("https://user:s@cret@server/mlflow/", "https://server/mlflow"),
        ],
    )
    def test_the_page_of_a_run(self, uri, base):
        assert run_url(uri, "1", "ab") == f"{base}/#/experiments/1/runs/ab"

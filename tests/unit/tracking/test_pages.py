"""What people do in MLflow's pages: deliveries respect it, repair it, or say what is wrong."""

import hashlib
import json
import time
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from mlflow_stores import client_of, put_job, runs_of

from l2o.jobs.history import History
from l2o.jobs.record import Run
from l2o.tracking import EXPERIMENT, sync
from l2o.tracking.live import LiveRun, follow_jobs

MODEL = "l2o-optimizer"


@pytest.fixture
def client(results) -> MlflowClient:
    return client_of(results)


@pytest.fixture
def delivered(results, client) -> Path:
    """Two jobs of one invocation that MLflow has."""
    for minute, name in enumerate("ab"):
        put_job(results / name, minute=minute, invocation="one")
    assert sync(results).delivered == 2
    return results


def the_run(client: MlflowClient, key: str, experiment: str = EXPERIMENT):
    (run,) = runs_of(client, experiment)[key]
    return run


def parent_ids(client: MlflowClient) -> set[str]:
    found = runs_of(client)
    return {r.data.tags["mlflow.parentRunId"] for key, runs in found.items() if key for r in runs}


def select(folder: Path, score: float, minute: int = 0) -> str:
    put_job(folder, minute=minute, stage="select")
    (folder / "best.safetensors").write_bytes(folder.name.encode())
    digest = hashlib.sha256(folder.name.encode()).hexdigest()
    facts = {"checkpoint": "best.safetensors", "sha256": digest, "score": score}
    (folder / "champion.json").write_text(json.dumps(facts))
    return digest


class TestExperiment:
    def test_deleted(self, delivered, client):
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        client.delete_experiment(experiment)
        put_job(delivered / "c", minute=2)
        for _ in range(2):
            (error,) = sync(delivered).errors
            assert "'l2o-rl' was deleted in MLflow" in error
            assert f"mlflow experiments restore -x {experiment}" in error and "mlflow gc" in error
        client.restore_experiment(experiment)
        report = sync(delivered)
        assert (report.errors, report.delivered, report.unchanged) == ([], 1, 2)
        assert {len(runs) for key, runs in runs_of(client).items()} == {1}

    def test_renamed(self, delivered, client):
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        client.rename_experiment(experiment, "the paper")
        put_job(delivered / "c", minute=2)
        report = sync(delivered)
        assert (report.errors, report.delivered, report.unchanged) == ([], 1, 2)
        assert the_run(client, "c", "the paper").info.experiment_id == experiment
        assert client.get_experiment_by_name(EXPERIMENT) is None

    def test_renamed_and_deleted_or_another_made(self, delivered, client):
        first = client.get_experiment_by_name(EXPERIMENT).experiment_id
        client.rename_experiment(first, "old")
        client.delete_experiment(first)
        report = sync(delivered)  # a fresh start
        assert (report.errors, report.delivered) == ([], 2)
        second = client.get_experiment_by_name(EXPERIMENT).experiment_id
        client.restore_experiment(first)
        assert sync(delivered).unchanged == 2  # the name comes first
        client.rename_experiment(second, "newer")
        assert sync(delivered).unchanged == 2
        assert the_run(client, "a", "newer").info.experiment_id == second != first

    def test_its_tags_deleted(self, delivered, client):
        experiment = client.get_experiment_by_name(EXPERIMENT)
        for name in experiment.tags:
            client.delete_experiment_tag(experiment.experiment_id, name)
        assert sync(delivered).unchanged == 2
        assert "mlflow.note.content" in client.get_experiment(experiment.experiment_id).tags

    def test_one_made_by_hand(self, results, client, tmp_path):
        client.create_experiment(EXPERIMENT, (tmp_path / "elsewhere").as_uri())
        put_job(results / "a")
        assert sync(results).errors == []
        assert list((tmp_path / "elsewhere").rglob("run.json"))


class TestRuns:
    def test_renamed_and_annotated(self, delivered, client):
        run = the_run(client, "a").info.run_id
        client.update_run(run, name="my favourite")
        client.set_tag(run, "mlflow.note.content", "look at this")
        client.delete_tag(run, "stage")
        assert sync(delivered).unchanged == 2
        after = the_run(client, "a")
        assert after.info.run_name == "my favourite" and "stage" not in after.data.tags
        assert after.data.tags["mlflow.note.content"] == "look at this"

    def test_deleted_and_restored(self, delivered, client):
        run = the_run(client, "a").info.run_id
        client.delete_run(run)
        assert sync(delivered).unchanged == 2
        assert the_run(client, "a").info.lifecycle_stage == "deleted"
        client.restore_run(run)
        assert sync(delivered).unchanged == 2
        assert the_run(client, "a").info.lifecycle_stage == "active"

    @pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED", "SCHEDULED", "FINISHED"])
    def test_another_status(self, delivered, client, status):
        before = the_run(client, "a")
        client.set_terminated(before.info.run_id, status)
        report = sync(delivered)
        assert report.errors == [] and report.points == 0
        after = the_run(client, "a")
        # One that is said to be running is looked through, and ended again.
        assert after.info.status == ("FINISHED" if status == "RUNNING" else status)
        assert after.data.metrics == before.data.metrics

    @pytest.mark.parametrize("key", [None, "something else", ""])
    @pytest.mark.parametrize("is_deleted", [False, True])
    def test_without_the_tag_that_tells_whose_it_is(self, delivered, client, key, is_deleted):
        run = the_run(client, "a").info.run_id
        if key is None:
            client.delete_tag(run, "l2o.run_key")
        else:
            client.set_tag(run, "l2o.run_key", key)
        if is_deleted:
            client.delete_run(run)
        put_job(delivered / "c", minute=2, invocation="one")
        for unchanged in (2, 3):
            report = sync(delivered)
            assert (report.errors, report.unchanged) == ([], unchanged)
        found = {r.info.run_id: r for runs in runs_of(client).values() for r in runs}
        assert len(found) == 4  # with their parent
        assert found[run].info.lifecycle_stage == ("deleted" if is_deleted else "active")
        if not is_deleted:
            assert found[run].data.tags["l2o.run_key"] == "a"

    def test_without_any_tag(self, delivered, client):
        for runs in runs_of(client).values():
            for run in runs:
                for name in run.data.tags:
                    client.delete_tag(run.info.run_id, name)
        assert sync(delivered).unchanged == 2
        assert set(runs_of(client)) == {"a", "b", ""}

    def test_the_key_of_another_run_is_not_taken_away(self, delivered, client):
        client.set_tag(the_run(client, "a").info.run_id, "l2o.run_key", "b")
        report = sync(delivered)
        assert (report.errors, report.delivered, report.unchanged) == ([], 1, 1)


class TestParents:
    def parent(self, client: MlflowClient) -> str:
        (run,) = runs_of(client)[""]
        return run.info.run_id

    def test_deleted(self, delivered, client):
        parent = self.parent(client)
        client.delete_run(parent)
        put_job(delivered / "c", minute=2, invocation="one")
        put_job(delivered / "d", minute=3, invocation="two")
        report = sync(delivered)
        assert (report.errors, report.delivered) == ([], 2)
        states = {run.info.lifecycle_stage for run in runs_of(client)[""]}
        assert states == {"deleted", "active"} and len(runs_of(client)[""]) == 2
        assert the_run(client, "c").data.tags["mlflow.parentRunId"] == parent
        assert the_run(client, "d").data.tags["mlflow.parentRunId"] != parent
        client.restore_run(parent)
        assert sync(delivered).unchanged == 4
        assert client.get_run(parent).info.end_time >= the_run(client, "c").info.end_time

    def test_renamed_or_without_its_tags(self, delivered, client):
        parent = self.parent(client)
        client.update_run(parent, name="first try")
        client.delete_tag(parent, "l2o.invocation")
        put_job(delivered / "c", minute=2, invocation="one")
        assert sync(delivered).errors == []
        assert parent_ids(client) == {parent}
        assert client.get_run(parent).info.run_name == "first try"


class TestRegistry:
    def versions(self, client: MlflowClient) -> set[str]:
        return {v.tags["sha256"] for v in client.search_model_versions(f"name = '{MODEL}'")}

    def champion(self, client: MlflowClient) -> str:
        return client.get_model_version_by_alias(MODEL, "champion").tags["sha256"]

    @pytest.mark.parametrize("how", ["deleted", "renamed"])
    def test_the_model(self, results, client, how):
        select(results / "first", score=1.0)
        assert sync(results).model_versions == 1
        if how == "deleted":
            client.delete_registered_model(MODEL)
        else:
            client.rename_registered_model(MODEL, "mine")
        assert sync(results).unchanged == 1  # what a person took away stays away
        digest = select(results / "second", score=0.5, minute=2)
        report = sync(results)
        assert (report.errors, report.model_versions) == ([], 1)
        assert self.versions(client) == {digest} and self.champion(client) == digest
        assert len(client.search_registered_models()) == (1 if how == "deleted" else 2)

    def test_the_version_of_the_champion_deleted(self, results, client):
        kept = select(results / "first", score=0.9)
        select(results / "second", score=1.0, minute=1)
        sync(results)
        best = client.get_model_version_by_alias(MODEL, "champion")
        client.delete_model_version(MODEL, best.version)
        assert sync(results).unchanged == 2
        assert self.versions(client) == {kept}
        digest = select(results / "third", score=0.1, minute=3)
        assert sync(results).errors == []
        assert self.champion(client) == digest

    def test_tags_and_aliases_changed(self, results, client):
        select(results / "first", score=0.9)
        sync(results)
        client.delete_model_version_tag(MODEL, "1", "score")
        client.delete_registered_model_alias(MODEL, "candidate")
        client.set_registered_model_alias(MODEL, "mine", "1")
        digest = select(results / "second", score=0.1, minute=2)
        assert sync(results).errors == []
        assert self.champion(client) == digest
        assert str(client.get_model_version_by_alias(MODEL, "mine").version) == "1"

    def test_the_run_of_a_version_deleted(self, results, client):
        select(results / "first", score=0.9)
        sync(results)
        client.delete_run(the_run(client, "first").info.run_id)
        select(results / "second", score=1.0, minute=2)
        report = sync(results)
        assert (report.errors, report.model_versions) == ([], 1)


class TestLive:
    @pytest.fixture(autouse=True)
    def quick(self, server, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        monkeypatch.setattr(LiveRun, "interval", 0.05)
        monkeypatch.setattr(LiveRun, "longest_pause", 0.1)
        monkeypatch.setattr(Run, "follow", None)  # restored afterwards
        follow_jobs()

    def job(self, folder: Path, action=lambda: None, is_shown: bool = True) -> None:
        """Log a step, wait until the server has it, do something, log another one."""
        with Run(folder, stage="meta_train", config={}) as run:
            run.log(0, {"loss": 1.0})
            end = time.monotonic() + 30 * is_shown
            while not (folder / ".mlflow.json").exists() and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.2)
            action()
            run.log(1, {"loss": 0.5})

    def note(self, folder: Path) -> str:
        return json.loads((folder / ".mlflow.json").read_text())["run_id"]

    def all_runs(self, server):
        places = [e.experiment_id for e in server.client.search_experiments(ViewType.ALL)]
        return server.client.search_runs(places, "", ViewType.ALL)

    def test_the_experiment_deleted_meanwhile(self, server, tmp_path, capfd):
        def delete() -> None:
            experiment = server.client.get_experiment_by_name(EXPERIMENT).experiment_id
            server.client.delete_experiment(experiment)

        self.job(tmp_path / "a", delete)
        self.job(tmp_path / "b", is_shown=False)
        said = capfd.readouterr().err
        assert said.count("\n") == said.count("not everything was delivered") == 2
        (error,) = sync(tmp_path).errors
        assert "was deleted in MLflow: restore it" in error
        experiment = server.client.get_experiment_by_name(EXPERIMENT).experiment_id
        server.client.restore_experiment(experiment)
        assert (sync(tmp_path).errors, len(self.all_runs(server))) == ([], 2)

    def test_the_experiment_renamed_meanwhile(self, server, tmp_path, capfd):
        def rename() -> None:
            experiment = server.client.get_experiment_by_name(EXPERIMENT).experiment_id
            server.client.rename_experiment(experiment, "ours")

        self.job(tmp_path / "a", rename)
        self.job(tmp_path / "b")
        assert capfd.readouterr().err == ""
        assert len({run.info.experiment_id for run in self.all_runs(server)}) == 1
        report = sync(tmp_path)
        assert (report.errors, report.delivered, len(self.all_runs(server))) == ([], 2, 2)

    def test_the_run_deleted_meanwhile(self, server, tmp_path, capfd):
        folder = tmp_path / "a"
        self.job(folder, lambda: server.client.delete_run(self.note(folder)))
        assert capfd.readouterr().err.count("\n") <= 1
        # Also when the job goes on under its identity, it stays deleted, and silently so.
        record = json.loads((folder / "run.json").read_text())
        again = LiveRun(server.uri, folder, record, History(folder / "x"), History(folder / "y"))
        again.stop("FINISHED")
        assert capfd.readouterr().err == ""
        report = sync(tmp_path)
        assert (report.errors, report.unchanged) == ([], 1)
        (run,) = self.all_runs(server)
        assert run.data.tags["l2o.run_key"] == record["run_key"]
        assert run.info.lifecycle_stage == "deleted"

    @pytest.mark.parametrize("is_child", [False, True])
    def test_the_parent_deleted_meanwhile(self, server, tmp_path, monkeypatch, is_child):
        monkeypatch.setenv("L2O_INVOCATION", 'it\'s "one"')
        self.job(tmp_path / "a")
        (parent,) = (r for r in self.all_runs(server) if "l2o.run_key" not in r.data.tags)
        if is_child:  # looks like a parent then
            (child,) = (r for r in self.all_runs(server) if "l2o.run_key" in r.data.tags)
            server.client.delete_tag(child.info.run_id, "l2o.run_key")
        else:
            server.client.delete_run(parent.info.run_id)
        self.job(tmp_path / "b")
        assert sync(tmp_path).errors == []
        assert len(self.all_runs(server)) == 3
        below = {r.data.tags.get("mlflow.parentRunId") for r in self.all_runs(server)}
        assert below == {None, parent.info.run_id}

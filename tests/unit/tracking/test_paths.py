"""Results in a folder whose name means something in an address, and values that do in a search."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from mlflow_stores import client_of, put_job, runs_of

from l2o.redaction import redact, redact_address
from l2o.tracking import default_tracking_uri, main_ui, sync
from l2o.tracking.addresses import database_file
from l2o.tracking.rest import RestClient

STRANGE = [
    *["what now?", "a?mode=ro", "a#b", "50%", "a%3Fb", "a%2520b", "a%20b", "a b", "a&b=c", "a;b"],
    *["a:b", "user:pw@host", "a+b", "it's", 'a"b', "ümläut→", "a[0]", "two\nlines", "back\\slash"],
    *["..%2f", "file:x", "~", "$HOME", "a*b", "{a}", "%(here)s", "tab\there"],
]
NAMES = ("mlartifacts", "mlflow.db")


@pytest.fixture(params=STRANGE, ids=ascii)
def strange(request, tmp_path, empty_store, monkeypatch) -> Path:
    """Results in a folder of that name, with an empty database."""
    root = tmp_path / request.param / "results"
    root.mkdir(parents=True)
    shutil.copy(empty_store, root / "mlflow.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def test_everything_lies_in_the_folder_of_the_results(strange, tmp_path):
    put_job(strange / "a")
    report = sync(strange)
    assert (report.errors, report.delivered) == ([], 1)
    report.uri.encode()  # it can be printed
    assert report.uri.isprintable()
    assert sorted(path.name for path in strange.iterdir()) == [".mlflow.lock", "a", *NAMES]
    assert {*tmp_path.iterdir()} == {strange.parent, tmp_path / "elsewhere"}
    assert list(Path.cwd().iterdir()) == []
    assert database_file(default_tracking_uri(strange)) == strange / "mlflow.db"
    ((run,),) = runs_of(client_of(strange)).values()
    copy = client_of(strange).download_artifacts(run.info.run_id, "run.json", str(tmp_path))
    assert Path(copy).read_bytes() == (strange / "a/run.json").read_bytes()
    assert sync(strange).unchanged == 1


@pytest.mark.parametrize("strange", ["a?mode=ro", "50%", "a%3Fb", "two\nlines"], indirect=True)
def test_the_pages_show_the_same_database(strange, monkeypatch):
    put_job(strange / "a")
    assert sync(strange).errors == []
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(os, "execv", lambda *_: None)
    main_ui(strange)
    shown = MlflowClient(os.environ["MLFLOW_BACKEND_STORE_URI"])
    assert list(runs_of(shown)) == ["a"]


def test_a_database_is_made_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_job(tmp_path / "what now?" / "results/a")
    assert sync(Path("what now?/results")).errors == []
    assert (tmp_path / "what now?/results/mlflow.db").is_file()
    assert os.listdir(tmp_path) == ["what now?"]


def test_the_weights_of_the_champion_can_be_fetched(tmp_path, empty_store):
    root = tmp_path / "what? 100%#1" / "results"
    root.mkdir(parents=True)
    shutil.copy(empty_store, root)
    uri = default_tracking_uri(root)
    folder = put_job(root / "a", stage="select")
    (folder / "best.safetensors").write_bytes(b"weights")

    digest = hashlib.sha256(b"weights").hexdigest()
    champion = {"checkpoint": "best.safetensors", "sha256": digest}
    (folder / "champion.json").write_text(json.dumps(champion))
    report = sync(root)
    assert (report.errors, report.model_versions) == ([], 1)
    version = MlflowClient(uri, uri).get_model_version_by_alias("l2o-optimizer", "champion")
    assert version.source.endswith("/champion")
    copy = MlflowClient(uri).download_artifacts(version.run_id, "champion", str(tmp_path))
    assert [path.name for path in Path(copy).rglob("*.safetensors")] == ["best.safetensors"]


def test_runs_are_found_by_any_value(server):
    values = ["plain-1", "it's", "itXs", 'say "so"', "50%", "a_b", "axb", "back\\", "a;b", "1\n2"]
    values += ['it\'s "both"', "' OR '1' = '1", "ümläut→", "`tick`", "a@b:c/d", "--", "/* */"]
    client = RestClient(server.uri)
    experiment = client.experiment("l2o-rl")
    for value in values:
        client.create_run(experiment, "name", 1, {"l2o.run_key": value})
    for value in values:
        (found,) = client.find_runs(experiment, "l2o.run_key", value)
        assert {"key": "l2o.run_key", "value": value} in found["data"]["tags"]


def test_a_folder_that_mlflow_cannot_name_is_refused_and_left_alone(tmp_path, empty_store):
    root = tmp_path / os.fsdecode(b"\xff")
    put_job(root / "a")
    shutil.copy(empty_store, root)
    (error,) = sync(root).errors
    assert "rename the folder" in error and error.isascii()
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


PASSWORDS = ["can" + mark + "ary" for mark in ("/", "?", "#", "@", ":", "%40", "[", " ")]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["http", "postgresql", "mysql+pymysql", "mssql+pyodbc"])
def test_a_password_with_such_characters_is_not_shown(tmp_path, capfd, scheme, password):
    put_job(tmp_path / "a")
    report = sync(tmp_path, f"{scheme}://user:{password}@127.0.0.1:1/x")
    assert len(report.errors) == 1 and "\n" not in report.errors[0]
    said = f"{report} {capfd.readouterr()}"
    assert "can" not in said.replace("cannot", "") and "ary" not in said.replace("necessary", "")


def test_addresses_still_lead_there():
    assert redact_address("http://mlflow:mlflow@mlflow:5000/m") == "http://mlflow:5000/m"
    assert redact_address("postgresql://u:p w@h/db") == "postgresql://h/db"
    assert redact_address("sqlite:////x:y@z/mlflow.db") == "sqlite:////x:y@z/mlflow.db"
    assert redact_address("sqlite:////x@z/mlflow.db") == "sqlite:////x@z/mlflow.db"


def test_parts_of_a_password_are_secret(monkeypatch):
    uri = "postgresql://u:first@second/third@host/db"
    for text in ("no host second", "not a number: first", "third@host"):
        assert redact(text, uri) not in (text, "") and "***" in redact(text, uri)
    monkeypatch.setenv("BACKUP_URL", uri)
    assert redact("no host second") == "no host ***"
    assert redact("see mlflow and u", uri) == "see mlflow and u"

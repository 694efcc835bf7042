"""Stores that the tests of tracking share."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._model_registry import utils as registry_globals
from mlflow.tracking._tracking_service import utils as tracking_globals


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "L2O_", "MLFLOW_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # MLflow's server sets these in its own process, which is this one here.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setattr(tracking_globals, "_tracking_uri", None)
    monkeypatch.setattr(registry_globals, "_registry_uri", None)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A database with MLflow's tables, which take seconds to create."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def results(tmp_path, empty_store) -> Path:
    root = tmp_path / "results"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return root


class Server(NamedTuple):
    """MLflow's own server, in a thread of this process."""

    uri: str
    client: MlflowClient
    credentials: list[str | None]


@pytest.fixture
def server(tmp_path, empty_store, monkeypatch) -> Iterator[Server]:
    """A server with an empty store; it notes the credentials of each request."""
    from mlflow.server import app, handlers
    from werkzeug.serving import make_server

    database = shutil.copy(empty_store, tmp_path / "server.db")
    store = f"sqlite:///{database}"
    for variable in ("_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_REGISTRY_STORE"):
        monkeypatch.setenv(variable, store)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", (tmp_path / "artifacts").as_uri())
    for name in ("_tracking_store", "_model_registry_store"):
        monkeypatch.setattr(handlers, name, None)
    credentials: list[str | None] = []

    def noting(environ: dict[str, Any], start: Any) -> Any:
        credentials.append(environ.get("HTTP_AUTHORIZATION"))
        return app(environ, start)

    web = make_server("127.0.0.1", 0, noting, threaded=True)
    thread = threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    # The first search takes seconds.
    MlflowClient(f"http://127.0.0.1:{web.port}").search_runs(["0"])
    credentials.clear()
    yield Server(f"http://127.0.0.1:{web.port}", MlflowClient(store, store), credentials)
    web.shutdown()
    web.server_close()
    thread.join()

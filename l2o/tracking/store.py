"""The MLflow store: its address, its experiment, and the tags that deliveries go by."""

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from l2o.errors import ResultsError
from l2o.files import read_json, write_json
from l2o.jobs.reading import SIDECAR, STORE_FOLDERS, JobRecord
from l2o.redaction import redact
from l2o.tracking.description import NOTE_TAG, experiment_tags

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "l2o-rl"
RUN_KEY_TAG = "l2o.run_key"
INVOCATION_TAG = "l2o.invocation"
PARENT_TAG = "mlflow.parentRunId"
# On the experiment: a digest of the description that was written here last.
WRITTEN_TAG = "l2o.description"
# On runs that jobs log themselves, with these values: such a run may have ended and lack much.
DELIVERY_TAG, LIVE, COMPLETE = "l2o.delivery", "live", "complete"

# What MLflow accepts in one call.
METRIC_BATCH, PARAM_BATCH = 1000, 100

_LOCAL_UI = "http://127.0.0.1:5000"

# Used where the user has not chosen. A request whose answer got lost may have been carried out,
# so the retry is left to the next sync, which looks first; this also finds a dead server at once.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def default_tracking_uri(results_dir: str | Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` or, without it, a SQLite file in the results directory."""
    local = f"sqlite:///{Path(results_dir).resolve() / 'mlflow.db'}"
    return os.environ.get("MLFLOW_TRACKING_URI") or local


def is_server(uri: str) -> bool:
    """Whether a store is reached through a server."""
    return uri.startswith(("http://", "https://"))


def run_url(uri: str, experiment: str, run: str) -> str:
    """Return the page of a run in MLflow.

    Args:
        uri: The store; a server shows its runs itself, ``make ui`` those of a database.
        experiment: Id.
        run: Id.
    """
    base = redact(uri).rstrip("/") if is_server(uri) else _LOCAL_UI
    return f"{base}/#/experiments/{experiment}/runs/{run}"


def note_run(job: JobRecord, uri: str, experiment: str, run: str) -> None:
    """Leave beside the job's files which MLflow run shows them, and at which address.

    Args:
        job: The job.
        uri: The store.
        experiment: Id.
        run: Id.
    """
    path = job.directory / SIDECAR
    note = {"run_id": run, "run_key": job.key, "url": run_url(uri, experiment, run)}
    with contextlib.suppress(ResultsError):
        if read_json(path) == note:
            return
    write_json(path, note)


def open_experiment(client: "MlflowClient", uri: str, root: Path) -> str:
    """Return the id of the experiment; a server decides itself where artifacts are kept."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return experiment.experiment_id
    location = None if is_server(uri) else (root / STORE_FOLDERS[0]).as_uri()
    return client.create_experiment(EXPERIMENT, location)


def describe_experiment(
    client: "MlflowClient", experiment: str, ablations: list[str], sections: list[str]
) -> None:
    """Bring the description of the experiment, and its views, up to date.

    A description that people wrote or changed stays as it is.

    Args:
        client: The store.
        experiment: Id.
        ablations: Names of those whose meta-training runs are there.
        sections: What the names of their metrics begin with.
    """
    known = client.get_experiment(experiment).tags
    wanted = experiment_tags(ablations, sections, experiment)
    if NOTE_TAG in known and _digest(known[NOTE_TAG]) != known.get(WRITTEN_TAG):
        del wanted[NOTE_TAG]
    else:
        wanted[WRITTEN_TAG] = _digest(wanted[NOTE_TAG])
    for name, text in wanted.items():
        if known.get(name) != text:
            client.set_experiment_tag(experiment, name, text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def quiet_client(uri: str) -> "Iterator[MlflowClient]":
    """Give an MLflow client; while it is in use, MLflow logs nothing."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def is_unreachable(error: BaseException) -> bool:
    """Whether an error means that the server is away."""
    requests = sys.modules.get("requests")
    cause: BaseException | None = error if requests else None
    while cause is not None:
        if isinstance(cause, requests.ConnectionError | requests.Timeout):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def one_line(error: BaseException) -> str:
    """Say what went wrong in one line."""
    if is_unreachable(error):
        return "cannot reach the server; the results are kept, run `l2o track sync` again later."
    text = str(error).partition("\n")[0]
    name = "" if isinstance(error, ResultsError) else f"{type(error).__name__}: "
    return redact(name + text)[:300]

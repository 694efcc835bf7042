"""The MLflow store: a client for it, and the tags that deliveries go by."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from l2o.errors import ResultsError
from l2o.files import read_json, write_json
from l2o.jobs.reading import SIDECAR, JobRecord
from l2o.redaction import redact_address
from l2o.tracking.addresses import is_server, prepared_environment
from l2o.tracking.probing import check_store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_KEY_TAG = "l2o.run_key"
INVOCATION_TAG = "l2o.invocation"
PARENT_TAG = "mlflow.parentRunId"
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


def run_url(uri: str, experiment: str, run: str) -> str:
    """Return the page of a run in MLflow.

    Args:
        uri: The store; a server shows its runs itself, ``make ui`` those of a database.
        experiment: Id.
        run: Id.
    """
    base = redact_address(uri).rstrip("/") if is_server(uri) else _LOCAL_UI
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


@contextlib.contextmanager
def quiet_client(uri: str) -> "Iterator[MlflowClient]":
    """Give an MLflow client; while it is in use, MLflow logs nothing.

    Raises:
        StoreError: The store is a database that cannot be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with prepared_environment(uri) as address:
            check_store(address)
            yield MlflowClient(tracking_uri=address, registry_uri=address)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

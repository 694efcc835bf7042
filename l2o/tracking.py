"""MLflow as a view of the result files: every ended job is delivered exactly once.

The files of a job are the truth (see ``l2o.runs``), and MLflow is filled from them afterwards, so
an MLflow server that is away never stops a job. What was delivered is read from MLflow itself: a
run carries its job's identity in the tag ``l2o.run_key`` from the moment it exists and is ended
after everything else, so a run that is still open is an interrupted delivery, to be completed.
"""

import contextlib
import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from l2o.errors import ResultsError
from l2o.files import read_json, write_json
from l2o.jobs import SIDECAR, STORE_FOLDERS, Job, find_jobs
from l2o.model_registry import publish_champion

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

EXPERIMENT = "l2o-rl"
RUN_KEY_TAG = "l2o.run_key"
INVOCATION_TAG = "l2o.invocation"
PARENT_TAG = "mlflow.parentRunId"

_LOCAL_UI = "http://127.0.0.1:5000"

# What MLflow accepts in one call.
_METRIC_BATCH, _PARAM_BATCH = 1000, 100

# Used where the user has not chosen. A request whose answer got lost may have been carried out,
# so the retry is left to the next sync, which looks first; this also finds a dead server at once.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass
class SyncReport:
    """What one call of ``sync`` did.

    Attributes:
        uri: The MLflow store, without credentials.
        delivered: Jobs whose MLflow run this call completed.
        unchanged: Jobs that MLflow already had.
        points: Metric points written.
        artifacts: Files uploaded.
        model_versions: Versions added to the model registry.
        errors: One line per job or store that could not be dealt with.
    """

    uri: str
    delivered: int = 0
    unchanged: int = 0
    points: int = 0
    artifacts: int = 0
    model_versions: int = 0
    errors: list[str] = field(default_factory=list)


def default_tracking_uri(results_dir: str | Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` or, without it, a SQLite file in the results directory."""
    local = f"sqlite:///{Path(results_dir).resolve() / 'mlflow.db'}"
    return os.environ.get("MLFLOW_TRACKING_URI") or local


def sync(results_dir: str | Path, tracking_uri: str | None = None) -> SyncReport:
    """Deliver every finished or failed job below a directory to MLflow, exactly once.

    It never raises: whatever goes wrong is in the report, and the next call delivers the rest.

    Args:
        results_dir: The root of all results. A job is known by its path below it, so use the same
            root every time.
        tracking_uri: The MLflow store; ``default_tracking_uri`` if None.

    Returns:
        Counts and errors.
    """
    root = Path(results_dir).resolve()
    uri = tracking_uri or default_tracking_uri(root)
    report = SyncReport(_without_credentials(uri))
    try:
        if not root.is_dir():
            raise ResultsError(f"{root}: no such directory.")
        jobs = find_jobs(root, report.errors)
        if jobs:
            with _one_at_a_time(root), _quiet_client(uri) as client:
                _Delivery(client, _experiment(client, uri, root), report).run(jobs)
    except Exception as error:
        report.errors.append(_one_line(error))
    return report


def run_url(uri: str, experiment: str, run: str) -> str:
    """Return the page of a run in MLflow.

    Args:
        uri: The store; a server shows its runs itself, ``make ui`` those of a database.
        experiment: Id.
        run: Id.
    """
    base = _without_credentials(uri).rstrip("/") if _is_server(uri) else _LOCAL_UI
    return f"{base}/#/experiments/{experiment}/runs/{run}"


def main_sync(results_dir: str | Path, uri: str | None = None, out: Path | None = None) -> int:
    """Run ``sync`` for the command line: print what was delivered and how to browse it.

    Args:
        results_dir: Folder of all results.
        uri: Tracking URI; by default a database in ``results_dir``.
        out: File for the report. With it nothing is a failure: a pipeline must not fail because
            a store is away, and the next sync delivers what is missing.

    Returns:
        The exit code: 1 if anything could not be delivered.
    """
    report = sync(results_dir, uri)
    if out is not None:
        write_json(out, asdict(report))
    print(
        f"{report.uri}: {report.delivered} run(s) delivered, {report.unchanged} already there "
        f"({report.points} metric points, {report.artifacts} artifacts, "
        f"{report.model_versions} model version(s))"
    )
    for error in report.errors:
        print(f"not delivered: {error}", file=sys.stderr)
    if _is_server(report.uri):
        print(f"browse: {report.uri}")
    else:
        print(f"browse: mlflow server --backend-store-uri {report.uri} --host 127.0.0.1")
    return 1 if report.errors and out is None else 0


class _Delivery:
    """One pass over the jobs with one MLflow store."""

    def __init__(self, client: "MlflowClient", experiment: str, report: SyncReport) -> None:
        self._client, self._experiment, self._report = client, experiment, report
        self._children: dict[str, MlflowRun] = {}
        self._parents: dict[str, MlflowRun] = {}
        for run in _all_runs(client, experiment):
            tags = run.data.tags
            if RUN_KEY_TAG in tags:
                known = self._children.get(tags[RUN_KEY_TAG])
                if known is None or known.info.status == "RUNNING":
                    self._children[tags[RUN_KEY_TAG]] = run
            elif INVOCATION_TAG in tags and run.info.lifecycle_stage == "active":
                self._parents[tags[INVOCATION_TAG]] = run

    def run(self, jobs: list[Job]) -> None:
        """Deliver the jobs, oldest first; one that fails does not keep the others back."""
        for job in jobs:
            try:
                self._deliver(job)
            except Exception as error:
                if _is_unreachable(error):
                    raise
                self._report.errors.append(f"{job.directory}: {_one_line(error)}")
        for invocation, parent in self._parents.items():
            ends = [job.end_ms for job in jobs if job.invocation == invocation]
            if ends and (parent.info.end_time or 0) < max(ends):
                self._client.set_terminated(parent.info.run_id, "FINISHED", max(ends))

    def _deliver(self, job: Job) -> None:
        run = self._children.get(job.key)
        # A run that the user deleted in MLflow was delivered too.
        if run and (run.info.status != "RUNNING" or run.info.lifecycle_stage == "deleted"):
            self._report.unchanged += 1
            _note_run(job, run, self._report.uri)
            return
        run = run or self._create(job)
        _note_run(job, run, self._report.uri)
        self._log_params(job, run)
        self._log_points(job, run)
        for path in job.artifacts():
            self._client.log_artifact(run.info.run_id, str(path))
            self._report.artifacts += 1
        self._report.model_versions += publish_champion(self._client, job, run)
        status = "FINISHED" if job.finished else "FAILED"
        self._client.set_terminated(run.info.run_id, status, job.end_ms)
        self._report.delivered += 1

    def _create(self, job: Job) -> "MlflowRun":
        tags = job.labels() | {RUN_KEY_TAG: job.key}
        if "git_commit" in tags:
            tags["mlflow.source.git.commit"] = tags["git_commit"]
        if job.invocation:
            if job.invocation not in self._parents:
                self._parents[job.invocation] = self._create_parent(job, job.invocation)
            parent = self._parents[job.invocation]
            tags |= {INVOCATION_TAG: job.invocation, PARENT_TAG: parent.info.run_id}
        return self._client.create_run(self._experiment, job.start_ms, tags, job.name)

    def _create_parent(self, first: Job, invocation: str) -> "MlflowRun":
        scale = first.record["tags"].get("scale", "pipeline")
        name = f"{scale} {first.record['started'][:16].replace('T', ' ')}"
        tags = {INVOCATION_TAG: invocation, "stage": "pipeline", "scale": scale}
        return self._client.create_run(self._experiment, first.start_ms, tags, name)

    def _log_params(self, job: Job, run: "MlflowRun") -> None:
        from mlflow.entities import Param

        known = run.data.params
        fresh = (Param(name, text) for name, text in job.params().items() if name not in known)
        while batch := list(islice(fresh, _PARAM_BATCH)):
            self._client.log_batch(run.info.run_id, params=batch, synchronous=True)

    def _log_points(self, job: Job, run: "MlflowRun") -> None:
        from mlflow.entities import Metric

        known = {
            (name, point.step)
            for name in run.data.metrics
            for point in self._client.get_metric_history(run.info.run_id, name)
        }
        fresh = (Metric(*p) for p in job.points() if (p.name, p.step) not in known)
        while batch := list(islice(fresh, _METRIC_BATCH)):
            self._client.log_batch(run.info.run_id, metrics=batch, synchronous=True)
            self._report.points += len(batch)


def _experiment(client: "MlflowClient", uri: str, root: Path) -> str:
    """Return the id of the experiment; a server decides itself where artifacts are kept."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return experiment.experiment_id
    location = None if _is_server(uri) else (root / STORE_FOLDERS[0]).as_uri()
    return client.create_experiment(EXPERIMENT, artifact_location=location)


def _all_runs(client: "MlflowClient", experiment: str) -> "Iterator[MlflowRun]":
    from mlflow.entities import ViewType

    token = None
    while True:
        page = client.search_runs([experiment], "", ViewType.ALL, 1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _note_run(job: Job, run: "MlflowRun", uri: str) -> None:
    """Leave beside the job's files which MLflow run shows them, and at which address."""
    path, run_id = job.directory / SIDECAR, run.info.run_id
    url = run_url(uri, run.info.experiment_id, run_id)
    note = {"run_id": run_id, "run_key": job.key, "url": url}
    with contextlib.suppress(ResultsError):
        if read_json(path) == note:
            return
    write_json(path, note)


@contextlib.contextmanager
def _quiet_client(uri: str) -> "Iterator[MlflowClient]":
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


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Wait for another process that delivers the same results."""
    with open(root / ".mlflow.lock", "w", encoding="utf-8") as file:
        # Some network file systems have no locks; then the user has to take care.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _is_unreachable(error: BaseException) -> bool:
    requests = sys.modules.get("requests")
    cause = error if requests else None
    while cause is not None:
        if isinstance(cause, requests.ConnectionError | requests.Timeout):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _without_credentials(text: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", text)


def _one_line(error: BaseException) -> str:
    """Say what went wrong in one line."""
    if _is_unreachable(error):
        return "cannot reach the server; the results are kept, run `l2o track sync` again later."
    text = str(error).partition("\n")[0]
    name = "" if isinstance(error, ResultsError) else f"{type(error).__name__}: "
    return _without_credentials(name + text)[:300]

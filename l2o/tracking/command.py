"""The commands `l2o track sync` and `l2o track ui`."""

import os
import sys
from dataclasses import asdict
from pathlib import Path

from l2o.files import write_json
from l2o.jobs.undelivered import note_failed_delivery
from l2o.redaction import redact_address
from l2o.tracking.addresses import database_file, default_tracking_uri, is_server
from l2o.tracking.delivery import sync
from l2o.tracking.probing import check_store
from l2o.tracking.problems import one_line


def main_sync(results_dir: str | Path, uri: str | None = None, out: Path | None = None) -> int:
    """Run ``sync`` for the command line: print what was delivered and how to browse it.

    Args:
        results_dir: Folder of all results.
        uri: Tracking URI; by default a database in ``results_dir``.
        out: File for the report. With it nothing is a failure: a pipeline must not fail because
            of its store. What is missing is counted instead, see
            :func:`l2o.jobs.undelivered.failed_deliveries`.

    Returns:
        The exit code: 1 if anything could not be delivered.
    """
    report = sync(results_dir, uri)
    if out is not None:
        if report.errors:
            note_failed_delivery(results_dir)
        write_json(out, asdict(report))
    print(
        f"{report.uri}: {report.delivered} run(s) delivered, {report.unchanged} already there "
        f"({report.points} metric points, {report.artifacts} artifacts, "
        f"{report.model_versions} model version(s))"
    )
    for error in report.errors:
        print(f"not delivered: {error}", file=sys.stderr)
    if is_server(report.uri):
        print(f"browse: {report.uri}")
    else:
        print("browse: make ui, or l2o track ui")
    return 1 if report.errors and out is None else 0


def main_ui(results_dir: str | Path, uri: str | None = None, port: int = 5000) -> int:
    """Show the runs of a database in MLflow, on this machine only, until it is stopped.

    Args:
        results_dir: Folder of all results.
        uri: Tracking URI; by default a database in ``results_dir``. A server shows its runs
            itself: its address is printed.
        port: Of the pages.

    Returns:
        The exit code; a database is shown by a program that takes the place of this one.
    """
    store = uri or default_tracking_uri(results_dir)
    if is_server(store):
        print(f"browse: {redact_address(store)}")
        return 0
    try:
        if database_file(store) is not None:
            check_store(store)
    except Exception as error:
        print(f"cannot be shown: {one_line(error, store)}", file=sys.stderr)
        return 1
    # Not an argument: the address of a database may hold a password.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Three processes for jobs with language models, that nobody here needs.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *place])

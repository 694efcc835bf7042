"""Stores of MLflow for tests: a database, a server in this process, and jobs to deliver."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from l2o.tracking import EXPERIMENT, RUN_KEY_TAG, default_tracking_uri

TIME = "2026-01-01T00:0{}:00+00:00"


def put_job(folder: Path, key: str | None = None, minute: int = 0, **facts: Any) -> Path:
    """Write the record of a job, as it is when the job has ended; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "stage": "evaluate",
        "status": "finished",
        "started": TIME.format(minute),
        "ended": TIME.format(minute + 1),
        "run_key": key or folder.name,
        "config": {"lr": 0.1},
        "tags": {"scale": "smoke"},
        "results": {"score": 0.5},
        "timings": {},
    }
    (folder / "run.json").write_text(json.dumps(record | facts))
    return folder


def client_of(results: Path) -> MlflowClient:
    uri = default_tracking_uri(results)
    return MlflowClient(uri, uri)


def runs_of(client: MlflowClient, experiment: str = EXPERIMENT) -> dict[str, list[Any]]:
    """Return the runs of an experiment, also deleted ones, by the job that they show."""
    found: dict[str, list[Any]] = {}
    place = client.get_experiment_by_name(experiment).experiment_id
    for run in client.search_runs([place], "", ViewType.ALL):
        found.setdefault(run.data.tags.get(RUN_KEY_TAG, ""), []).append(run)
    return found


class Recorder:
    """An HTTP server that notes what is asked, and answers as it is told.

    Attributes:
        seen: Path and credentials of each request.
        port: Of this machine.
    """

    def __init__(self, answer: Callable[[str], tuple[int, dict[str, str], str]]) -> None:
        """Begin to listen.

        Args:
            answer: Gives status, headers and body for a path.
        """
        self.seen: list[tuple[str, str | None]] = []
        seen = self.seen

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers.get("Authorization")))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def recorder(
    status: int = 200, body: str = "{}", headers: dict[str, str] | None = None
) -> Iterator[Recorder]:
    """Give a server that always answers the same."""
    server = Recorder(lambda _: (status, headers or {}, body))
    try:
        yield server
    finally:
        server.close()

"""The server script, started and ended by a test."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "workflow/scripts/mlflow-server"
# What tests start listens on this machine, and no proxy leads there.
_DIRECT = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{_DIRECT},127.0.0.1,localhost"


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """MLflow with PostgreSQL and a password; `start` and `stop` keep what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text()

    @property
    def credentials(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def start(self) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # MLflow is large: half a minute
        with open(self.folder / "server.log", "a") as log:
            self._process = subprocess.Popen(
                [SCRIPT, self.folder, str(self.port)],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, f"the server does not answer\n{self.log}"
            time.sleep(0.2)

    def stop(self) -> int:
        """End it as Ctrl-C or a service manager would, and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)

    def processes(self) -> list[psutil.Process]:
        """All that was started and has not ended, as some does after moments; with `info`."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.info = process.as_dict(["name", "cmdline", "net_connections"])
                found.append(process)
        return found

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it accept connections and answer none."""
        stopped = [p for p in self.processes() if "python" in p.info["name"]]
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it whatever happened, by its own process group."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        """Whether it has opened its database: the first answers take seconds."""
        with contextlib.suppress(OSError):  # no password yet, or no server
            url = f"{self.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
            answer = requests.get(url, auth=("admin", self.password), timeout=60)
            return answer.ok
        return False


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Give a server on an empty store, or skip where its parts are missing."""
    missing = [name for name in ("flask_wtf", "psycopg2") if not _has(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (the extra `server`)")
    if not (shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        pytest.skip("no PostgreSQL here (Debian's package `postgresql`)")
    # Not below pytest's folders: where this is root, PostgreSQL is another user, and must reach it.
    folder = Path(tempfile.mkdtemp(prefix="l2o-server-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None

"""No secret in what is printed or written: results, logs, errors, addresses."""

import base64
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from l2o.cli import main
from l2o.errors import L2OError
from l2o.jobs.record import Run
from l2o.redaction import redact
from l2o.tracking import run_url

SECRET = "s3cr3t-canary"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a secret wherever one is kept; return the address of a server that is away."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
    uri = f"http://user:{SECRET}@127.0.0.1:1/"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "remote.planted.url")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"https://x:{SECRET}@git.invalid/a")
    shown = subprocess.run(["git", "remote", "-v"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode or SECRET in shown.stdout
    return uri


def assert_secret_is_nowhere(*texts: str) -> None:
    files = [path for path in Path().rglob("*") if path.is_file()]
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
    for text in texts:
        assert SECRET not in text


class Telltale(http.server.BaseHTTPRequestHandler):
    """Answers every request with an error that repeats its credentials."""

    said: list[str]

    def do_GET(self) -> None:
        credentials = base64.b64decode(self.headers["Authorization"].split()[1]).decode()
        self.said.append(f"no access for {credentials}")
        self.send_response(403)
        self.send_header("Content-Length", str(len(self.said[-1])))
        self.end_headers()
        self.wfile.write(self.said[-1].encode())

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def telltale_server() -> Iterator[str]:
    """Give the address of such a server, which ends with the block."""
    Telltale.said = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Telltale) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://user:{SECRET}@127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
    assert any(SECRET in text for text in Telltale.said)


def test_a_job_and_its_delivery(
    secrets: str, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = "--environments 2 --updates 2 --points 1 --seeds 1 --learning-rate 0.01"
    job = ["evaluate", "--task", "catch", "--optimizer", "adam", "--out", "results/job"]
    assert main([*job, *tiny.split()]) == 0
    assert Path("results/job/run.json").is_file()
    sync = ["track", "sync", "--results", "results"]
    assert main([*sync, "--out", "report.json"]) == 0
    assert main(sync) == 1
    out, err = capfd.readouterr()
    assert "http://127.0.0.1:1/: 0 run(s) delivered" in out and "cannot reach the server" in err
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")  # would be sent in place of the password
    with telltale_server() as uri:
        assert main([*sync, "--uri", uri, "--out", "refused.json"]) == 0
    refused = capfd.readouterr()
    assert "no access for user:***" in refused.err
    assert_secret_is_nowhere(out, err, *refused, run_url(secrets, "0", "1"))


def test_the_user_interface(secrets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, words: called.extend(words))
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"):
        monkeypatch.setenv(name, "")
    store = f"postgresql://user:{SECRET}@127.0.0.1:1/runs"
    assert main(["track", "ui", "--port", "5123", "--uri", store]) == 0
    assert called[called.index("--host") + 1] == "127.0.0.1"
    assert called[called.index("--port") + 1] == "5123"
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == store
    assert_secret_is_nowhere(*called)


def test_a_failure(secrets: str) -> None:
    said = f"no answer from {secrets}?token={SECRET}, signed {SECRET}"
    with pytest.raises(RuntimeError), Run("failed", stage="evaluate", config={}):
        raise RuntimeError(said)
    record = json.loads(Path("failed/run.failed.json").read_text())
    assert record["error"].startswith("RuntimeError: no answer from http://127.0.0.1:1/?token=***")
    assert "raise RuntimeError(said)" in record["traceback"]
    assert_secret_is_nowhere(str(L2OError(said)))


def test_a_traceback(secrets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["import os", "from l2o.redaction import redact_tracebacks", "redact_tracebacks()"]
    program = "\n".join([*lines, "raise OSError(os.environ['MLFLOW_TRACKING_URI'])"])
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "OSError: http://127.0.0.1:1/" in done.stderr
    assert_secret_is_nowhere(done.stderr, done.stdout)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    assert main(["list", "optimizers"]) == 0
    assert sys.excepthook is not sys.__excepthook__


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:a@b@host/x", "http://host/x"),
        ("http://user:a/b@host/x", "http://host/x"),
        ("mysql://u:p@h/db and s3://k:p@h", "mysql://h/db and s3://h"),
        ("postgresql://h/db?user=u&password=p&a=1", "postgresql://h/db?user=u&password=***&a=1"),
        ("sqlite:////home/x/mlflow.db", "sqlite:////home/x/mlflow.db"),
        ("models:/l2o-optimizer@champion", "models:/l2o-optimizer@champion"),
        ("http://host:5000/#/experiments/1", "http://host:5000/#/experiments/1"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_variables_are_secret_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MY_API_KEY", "DB_PASSWD", "HF_TOKEN", "GOOGLE_CREDENTIALS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "abcdefgh")
            assert redact("is abcdefgh") == "is ***"
    monkeypatch.setenv("KEYBOARD", "abcdefgh")
    monkeypatch.setenv("USE_TOKEN", "1")
    assert redact("abcdefgh 1") == "abcdefgh 1"

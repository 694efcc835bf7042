"""Stores that are away, refuse, or are damaged: one line each, soon, with what to do."""

import contextlib
import os
import shutil
import socket
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from mlflow_stores import client_of, put_job, recorder, runs_of

from l2o.tracking import failed_deliveries, main_sync, main_ui, probing, sync

CANARY = "canary-password"


@contextlib.contextmanager
def listener(talk: Callable[[socket.socket], None] = lambda _: None) -> Iterator[int]:
    """Give the port of something that accepts connections, and holds them until the end."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    held.append(connection)
                    talk(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()
        thread.join()


def refuse(message: str) -> Callable[[socket.socket], None]:
    """Say what PostgreSQL says when it does not let somebody in."""

    def talk(connection: socket.socket) -> None:
        while len(begin := connection.recv(1024)) == 8:  # may this be encrypted?
            connection.send(b"N")
        assert begin
        fields = b"".join(part.encode() + b"\0" for part in ("SFATAL", "C28P01", f"M{message}"))
        connection.send(b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0")
        connection.close()

    return talk


def problem(results, uri: str | None = None, seconds: float = 12) -> str:
    """Return the one line that a delivery prints, and see that it comes soon and keeps secrets."""
    began = time.monotonic()
    report = sync(results, uri)
    assert time.monotonic() - began < seconds
    (error,) = report.errors
    assert "\n" not in error and CANARY not in str(report)
    assert report.delivered == 0
    return error


@pytest.fixture
def job(tmp_path):
    put_job(tmp_path / "results/a")
    return tmp_path / "results"


class TestDatabasesAway:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "POSTGRESQL"])
    def test_nothing_listens(self, job, scheme):
        error = problem(job, f"{scheme.lower()}://user:{CANARY}@127.0.0.1:1/db")
        assert f"cannot reach the database {scheme.lower()}://127.0.0.1:1/db" in error
        assert "connection refused" in error and "run `l2o track sync` again later" in error

    def test_the_command_says_so_and_fails(self, job, capfd):
        uri = f"postgresql://user:{CANARY}@127.0.0.1:1/db"
        assert main_sync(job, uri) == 1
        out, err = capfd.readouterr()
        assert err.startswith("not delivered: cannot reach the database") and err.count("\n") == 1
        assert CANARY not in out + err

    def test_a_name_that_does_not_exist(self, job):
        assert "no such host" in problem(job, f"postgresql://u:{CANARY}@nowhere.invalid/db")

    def test_silence(self, job, monkeypatch):
        monkeypatch.setattr(probing, "PATIENCE", 2.0)
        with listener() as port:
            error = problem(job, f"postgresql://u:{CANARY}@127.0.0.1:{port}/db", seconds=6)
            assert "no answer" in error
            # A limit that the user chose is longer than our patience.
            uri = f"postgresql://u:{CANARY}@127.0.0.1:{port}/db?connect_timeout=60"
            assert "no answer in 2 s" in problem(job, uri, seconds=6)

    @pytest.mark.parametrize(
        "message",
        ['password authentication failed for user "u"', 'database "db" does not exist'],
    )
    def test_a_refusal(self, job, message):
        with listener(refuse(message)) as port:
            error = problem(job, f"postgresql://u:{CANARY}@127.0.0.1:{port}/db?sslmode=disable")
        assert f"refuses: {message}" in error and "correct its address" in error

    @pytest.mark.parametrize(
        ("scheme", "package"),
        [
            ("mysql", "mysqlclient"),
            ("mysql+pymysql", "pymysql"),
            ("mysql+mysqlconnector", "mysql-connector-python"),
            ("mssql+pyodbc", "pyodbc"),
            ("mssql+pymssql", "pymssql"),
            ("postgresql+psycopg", "psycopg[binary]"),
            ("postgresql+pg8000", "pg8000"),
        ],
    )
    def test_a_driver_that_is_not_installed(self, job, monkeypatch, scheme, package):
        module = {"mysqlclient": "MySQLdb", "mysql-connector-python": "mysql.connector"}
        name = module.get(package, package.partition("[")[0])
        monkeypatch.setitem(sys.modules, name, None)  # wherever it is installed
        error = problem(job, f"{scheme}://u:{CANARY}@127.0.0.1:1/db")
        assert f"pip install '{package}'" in error

    @pytest.mark.parametrize("scheme", ["postgres", "oracle", "ftp", "postgresql+nothing"])
    def test_no_such_kind(self, job, scheme):
        error = problem(job, f"{scheme}://u:{CANARY}@h/db")
        assert scheme in error and ("begins with" in error or "no driver" in error)

    def test_it_goes_away_while_it_is_used(self, results, monkeypatch):
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import OperationalError

        for name in "abc":
            put_job(results / name)
        gone = OperationalError("insert", {}, ConnectionError("server closed the connection"))

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("in the store") from gone

        monkeypatch.setattr(MlflowClient, "create_run", fail)
        assert "cannot reach" in problem(results)  # once, not for each job


class TestServers:
    @pytest.mark.parametrize(
        ("status", "body", "says"),
        [
            (401, "You are not authenticated.", "refuses the credentials (401)"),
            (403, "Permission denied", "(403): ask who runs it"),
            (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', "(403): ask who runs it"),
            (404, "<html>\nnginx</html>", "is no MLflow server (404): check the address"),
            (405, "", "is no MLflow server (405)"),
            (429, "slow down", "fails (429)"),
            (500, "<html>oops</html>", "fails (500): see its log"),
            (503, '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}', "fails (503)"),
            (503, "starting", "fails (503): see its log; the results are kept"),
            (200, "<html>\nLog in</html>", "not as an MLflow server does"),
            (200, "hello", "not as an MLflow server does"),
            (200, "[]", "not as an MLflow server does"),
            (418, "teapot", "refuses (418)"),
        ],
    )
    def test_an_answer_that_is_not_mlflows(self, job, status, body, says):
        with recorder(status, body) as server:
            error = problem(job, server.uri.replace("//", f"//u:{CANARY}@"))
            assert says in error and server.uri in error and "<" not in error

    def test_silence(self, job, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with listener() as port:
            error = problem(job, f"http://u:{CANARY}@127.0.0.1:{port}", seconds=6)
        assert "cannot reach the server" in error and "no answer in time" in error

    def test_it_hangs_up(self, job):
        with listener(lambda connection: connection.close()) as port:
            assert "cannot reach the server" in problem(job, f"http://127.0.0.1:{port}")

    def test_it_speaks_no_tls(self, job):
        with recorder() as server:
            error = problem(job, server.uri.replace("http:", "https:"))
        assert "cannot reach the server https://" in error


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def scribble(path):
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 12] = b"x" * 4096 * 10
    path.write_bytes(data)


def folder(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def drop(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE latest_metrics")


class TestDamage:
    @pytest.mark.parametrize(
        "harm",
        [
            cut,
            scribble,
            folder,
            pipe,
            drop,
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            lambda path: path.write_text("a note to myself, in the wrong place"),
            lambda path: path.write_bytes(path.read_bytes()[:50]),
            lambda path: path.write_bytes(path.read_bytes()[:5]),
        ],
        ids=["cut", "scribbled", "folder", "pipe", "dropped", "zeros", "text", "header", "stub"],
    )
    def test_it_can_be_deleted_and_made_again(self, results, empty_store, harm, capfd):
        put_job(results / "a")
        assert sync(results).errors == []
        harm(results / "mlflow.db")
        error = problem(results)
        assert f"{results / 'mlflow.db'}: MLflow's database is damaged" in error
        assert "delete it and run `l2o track sync`" in error
        assert main_sync(results) == 1
        if harm is not drop:
            assert main_ui(results) == 1
            assert "cannot be shown" in capfd.readouterr().err
        (results / "mlflow.db").rmdir() if harm is folder else (results / "mlflow.db").unlink()
        # Elsewhere, as this process may still have the former file open.
        again = results.rename(results.with_name("again"))
        shutil.copy(empty_store, again)
        assert sync(again).delivered == 1

    @pytest.mark.parametrize("revision", ["from the future", "451aebb31d03"])
    def test_another_version_of_mlflow(self, results, revision):
        put_job(results / "a")
        with contextlib.closing(sqlite3.connect(results / "mlflow.db")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()
        error = problem(results)
        assert "another version of MLflow" in error and "mlflow db upgrade" in error
        assert "or delete it" in error

    def test_an_empty_file_is_no_damage(self, results):
        put_job(results / "a")
        (results / "mlflow.db").write_bytes(b"")
        probing.check_store(f"sqlite:///{results / 'mlflow.db'}")

    @pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
    def test_in_use_is_no_damage(self, results, monkeypatch, lock):
        monkeypatch.setattr(probing, "_BUSY", 0.3)
        put_job(results / "a")
        put_job(results / "b")
        with contextlib.closing(sqlite3.connect(results / "mlflow.db")) as other:
            other.execute(f"BEGIN {lock}")
            error = problem(results)
        assert "in use by another process" in error and "damaged" not in error
        assert sync(results).delivered == 2

    def test_what_a_killed_process_left_is_no_damage(self, results):
        """Its half-written pages are undone by who comes next."""
        put_job(results / "a")
        child = os.fork()
        if child == 0:
            connection = sqlite3.connect(results / "mlflow.db", isolation_level=None)
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN IMMEDIATE")
            rows = [(str(i), "x" * 3000) for i in range(200)]
            connection.executemany(
                "INSERT INTO experiments (name, artifact_location) VALUES (?, ?)", rows
            )
            os._exit(0)
        os.waitpid(child, 0)
        (results / ".mlflow.lock").write_text("")
        assert (results / "mlflow.db-journal").stat().st_size > 0
        assert sync(results).errors == []
        assert len(client_of(results).search_experiments()) == 2

    def test_read_only(self, results):
        put_job(results / "a")
        uri = f"sqlite:///file:{results / 'mlflow.db'}?mode=ro&uri=true"
        error = problem(results, uri)
        assert "cannot be written" in error and "damaged" not in error


class TestPipeline:
    def test_it_does_not_fail_but_it_counts(self, results, capfd):
        put_job(results / "a")
        out = results / "tracking.json"
        assert failed_deliveries(results) == 0
        for count in (1, 2):
            assert main_sync(results, "http://127.0.0.1:1", out) == 0
            assert failed_deliveries(results) == count
        assert "not delivered: cannot reach the server" in capfd.readouterr().err
        assert main_sync(results, out=out) == 0
        assert failed_deliveries(results) == 2  # as at the start of this delivery: all is done
        assert list(runs_of(client_of(results))) == ["a"]

    def test_by_hand_nothing_is_counted(self, results):
        put_job(results / "a")
        assert main_sync(results, "http://127.0.0.1:1") == 1
        assert failed_deliveries(results) == 0

    @pytest.mark.parametrize("text", ["", "{}", '"x"', "{"])
    def test_a_damaged_count_begins_again(self, results, text):
        (results / ".undelivered.json").write_text(text)
        assert failed_deliveries(results) == 0

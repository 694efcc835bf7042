"""A look at a store before it is used: MLflow tries a dead database for minutes, silently."""

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

from l2o.redaction import redact_address
from l2o.tracking.addresses import database_file, is_database
from l2o.tracking.problems import LATER, StoreError, about_sqlite, damaged

# Seconds until a database must have answered, or a file must have been let go.
PATIENCE = 8.0
_BUSY = 5.0
_MAGIC = b"SQLite format 3\0"
# What a driver calls its limit for connecting, as an option of the address.
_LIMITS = {
    "psycopg2": "connect_timeout",
    "psycopg": "connect_timeout",
    "pymysql": "connect_timeout",
    "mysqldb": "connect_timeout",
    "mysqlconnector": "connection_timeout",
}
# Packages whose name is not that of their module.
_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}


def check_store(uri: str) -> None:
    """Complain about a database that cannot be used; a server is left to the first request.

    Raises:
        StoreError: It is damaged, in use, away, or its driver is not installed.
    """
    if (path := database_file(uri)) is not None:
        _check_file(path)
    elif is_database(uri) and not uri.lower().startswith("sqlite"):
        _check_connection(uri)


def _check_file(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_file():
        raise damaged(path, "it is a folder" if path.is_dir() else "it is no file")
    try:
        with open(path, "rb") as file:
            begin = file.read(len(_MAGIC))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; see its permissions.") from None
    if not begin:
        return  # what SQLite itself makes before it writes
    if begin != _MAGIC:
        raise damaged(path, "it is not a database")
    try:
        # To write, because what a killed process left undone is undone first.
        address = f"{path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, timeout=_BUSY, uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            # MLflow waits 20 s for who writes, with each thing that it writes.
            with contextlib.suppress(sqlite3.OperationalError if _is_closed(path) else ()):
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except sqlite3.Error as error:
        raise about_sqlite(error, path) from None
    if verdict != "ok":
        raise damaged(path, str(verdict).partition("\n")[0])


def _is_closed(path: Path) -> bool:
    """Whether it can only be read, which is enough if there is nothing new."""
    return not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _check_connection(uri: str) -> None:
    """Connect as MLflow does, in a thread: no limit of a driver covers all ways to be silent."""
    problems: list[Exception] = []

    def connect() -> None:
        try:
            _connect(uri)
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=connect, name="l2o-probe", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        silence = f"no answer in {PATIENCE:g} s"
        raise StoreError(f"cannot reach the database {redact_address(uri)} ({silence}); {LATER}")
    if problems:
        raise problems[0]


def _connect(uri: str) -> None:
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from sqlalchemy import exc
    from sqlalchemy.engine import make_url

    shown = redact_address(uri)
    try:
        url = make_url(uri)
        limit = _LIMITS.get(url.get_driver_name())
        if limit and limit not in url.query:
            url = url.update_query_dict({limit: str(round(PATIENCE / 2))})
        engine = create_sqlalchemy_engine(url.render_as_string(hide_password=False))
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        package = _PACKAGES.get(module, module)
        raise StoreError(
            f"{shown}: needs the package {package}: pip install '{package}'; {LATER}"
        ) from None
    except exc.NoSuchModuleError:
        raise StoreError(f"{shown}: no driver of that name ({uri.partition('://')[0]}).") from None
    except (exc.ArgumentError, ValueError):
        raise StoreError(
            f"{shown}: not the address of a database; in a user name or a password, write "
            "@ : / ? # as %40 %3A %2F %3F %23."
        ) from None
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()

"""What can be wrong with a store, in one line each: what happened, and what to do."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from l2o.errors import L2OError
from l2o.redaction import redact, redact_address
from l2o.tracking.addresses import database_file, is_database, is_server

LATER = "the results are kept, run `l2o track sync` again later."
_REBUILD = "delete it and run `l2o track sync`, which rebuilds it from the results."
_LONGEST, _LONGEST_REASON = 400, 160

# Parts of what SQLite says, and what that means.
_SQLITE = {
    "locked": (
        "is in use by another process; wait for it, or end it, and run `l2o track sync` again."
    ),
    "readonly": "cannot be written; make it and its folder writable and run `l2o track sync`.",
    "unable to open": "cannot be opened; see the permissions of it and of its folder.",
    "is full": "the disk is full; make space and run `l2o track sync` again.",
    "disk i/o": "cannot be read or written; see whether the disk is full, and run again.",
}
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "already exists")
_SERVER = {
    401: "refuses the credentials (401): set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "does not let this user do that (403): ask who runs it for the permission",
    404: "is no MLflow server (404): check the address",
    405: "is no MLflow server (405): check the address",
}
_STATUS = re.compile(r"(?:failed with error code|too many) (\d{3})\b")
# From PostgreSQL and MySQL: who connects is known, and not let in.
_REFUSAL = re.compile(r"FATAL: .+|\((?:1044|1045|1049), .+")
_KINDS = "it begins with http://, https://, postgresql://, mysql://, mssql:// or sqlite:///"
_BODY = re.compile(r"Response body: '(.*)'", re.DOTALL)


class StoreError(L2OError):
    """The whole store cannot be used, so there is no point in going on with the next job."""


def damaged(path: Path, why: str) -> StoreError:
    """Build the error for a database that has to be made again."""
    return StoreError(f"{path}: MLflow's database is damaged ({why}): {_REBUILD}")


def about_sqlite(error: BaseException, path: Path | str) -> StoreError:
    """Say what SQLite complains about."""
    text = str(error).lower()
    for sign, meaning in _SQLITE.items():
        if sign in text:
            return StoreError(f"{path}: {meaning}")
    return damaged(Path(path), str(error))


def is_unreachable(error: BaseException) -> bool:
    """Whether an error means that the server, or the database, is away."""
    return _away(error) is not None


def stops_delivery(error: BaseException) -> bool:
    """Whether an error is one of the whole store."""
    if any(isinstance(cause, StoreError) for cause in _causes(error)):
        return True
    gateway = _status(error) in (401, 429, 502, 503, 504)
    return gateway or is_unreachable(error) or _sqlite_error(error) is not None


def one_line(error: BaseException, uri: str = "") -> str:
    """Say what went wrong in one line.

    Args:
        error: What was raised.
        uri: The store; its password is not shown.
    """
    text = _explain(error, uri)
    text = redact(text.partition("\n")[0], uri)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _explain(error: BaseException, uri: str) -> str:
    if isinstance(error, L2OError):
        return str(error)
    shown = redact_address(uri)
    if (away := _away(error)) is not None:
        if refusal := _REFUSAL.search(str(away)):
            said = refusal[0].removeprefix("FATAL:").strip()
            return f"the database {shown} refuses: {said}; correct its address, {LATER}"
        kind = "database" if is_database(uri) else "server"
        return f"cannot reach the {kind} {shown} ({_reason(away)}); {LATER}"
    if (problem := _sqlite_error(error)) is not None:
        return str(about_sqlite(problem, database_file(uri) or shown))
    text = str(error)
    if type(error).__name__.endswith("StoreURIException"):
        return f"{shown}: not the address of a store: {_KINDS}."
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        choice = f", or {_REBUILD}" if database_file(uri) else "."
        return (
            f"{database_file(uri) or shown}: the database is of another version of MLflow: run "
            f"`mlflow db upgrade` with its address{choice}"
        )
    if is_server(uri) and (answer := _about_answer(error, shown)):
        return answer
    return f"{type(error).__name__}: {text}"


def _about_answer(error: BaseException, shown: str) -> str | None:
    """Say what an answer means that is not MLflow's own message about one thing."""
    text = str(error)
    body = _BODY.search(text)
    said = body.group(1).strip() if body else ""
    is_page = said.startswith("<")
    words = f"; it says: {said.splitlines()[0][:_LONGEST_REASON]}" if said and not is_page else ""
    if "not in a valid JSON format" in text:
        return f"{shown} answers, but not as an MLflow server does: check the address{words}"
    status = _status(error)
    if status is None:
        return None
    if status in _SERVER:
        return f"{shown} {_SERVER[status]}{words}"
    if status >= 500 or status == 429:
        return f"{shown} fails ({status}): see its log; {LATER[:-1]}{words}"
    return f"{shown} refuses ({status}){words}" if body else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, those that led to it, and what a driver of a database raised."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__


def _away(error: BaseException) -> BaseException | None:
    requests, database = sys.modules.get("requests"), sys.modules.get("sqlalchemy.exc")
    for cause in _causes(error):
        if requests and isinstance(cause, requests.ConnectionError | requests.Timeout):
            return cause
        if database and isinstance(cause, database.OperationalError | database.InterfaceError):
            return None if _is_sqlite(cause.orig) else cause.orig
        if database and isinstance(cause, database.TimeoutError):
            return cause
    return None


def _sqlite_error(error: BaseException) -> BaseException | None:
    """Return what SQLite says about its file, not about single values."""
    return next((cause for cause in _causes(error) if _is_sqlite(cause)), None)


def _is_sqlite(error: BaseException | None) -> bool:
    sqlite = sys.modules.get("sqlite3")
    if sqlite is None or not isinstance(error, sqlite.DatabaseError):
        return False
    signs = (*_SQLITE, *_DAMAGE)
    return isinstance(error, sqlite.OperationalError) or any(s in str(error) for s in signs)


def _status(error: BaseException) -> int | None:
    """Return the status of a server's answer, if it is not about one thing that MLflow has."""
    text = str(error)
    if found := _STATUS.search(text):
        return int(found.group(1))
    # With a code of its own, MLflow itself speaks.
    codes = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "TEMPORARILY_UNAVAILABLE": 503}
    return codes.get(str(getattr(error, "error_code", "")))


def _reason(error: BaseException) -> str:
    """Return what a network or a driver says, without what is technical about it."""
    text = str(error)
    for sign, reason in {
        "refused": "connection refused",
        "resolve": "no such host",
        "Name or service not known": "no such host",
        "could not translate host name": "no such host",
        "timed out": "no answer in time",
        "timeout": "no answer in time",
        "unreachable": "network unreachable",
        "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted; see "
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "proxy": "the proxy of the environment refuses",
    }.items():
        if sign.lower() in text.lower():
            return reason
    # MySQL's driver has a number first.
    words = error.args[-1] if error.args and isinstance(error.args[-1], str) else text
    return words.partition("\n")[0].strip()[:_LONGEST_REASON]

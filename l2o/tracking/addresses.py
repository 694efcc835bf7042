"""Addresses of MLflow stores: what they name, and how they are reached.

A server on this machine is never reached through a proxy, which would get the password, too. Other
servers are reached as the environment says.
"""

import configparser
import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from l2o.errors import L2OError
from l2o.redaction import redact_address

_DATABASES = ("postgresql", "mysql", "mssql", "sqlite")
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
# Loopback, and "any address", which is this machine where it is called.
_LOCAL_FIRST_BYTES = (127, 0)


def default_tracking_uri(results_dir: str | Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` or, without it, a SQLite file in the results directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(Path(results_dir).resolve())


def _sqlite_uri(folder: Path) -> str:
    path = folder / "mlflow.db"
    text = str(path)
    if text.isprintable() and "?" not in text:
        return f"sqlite:///{text}"
    # A question mark would begin the options, so the path is quoted, as SQLite's own kind of
    # address. The driver is named because MLflow takes what follows `sqlite:///` for a plain path
    # and makes its folder.
    return f"sqlite+pysqlite:///{path.as_uri().replace('://', ':', 1)}?uri=true"


def is_server(uri: str) -> bool:
    """Whether a store is reached through a server."""
    return uri.lower().startswith(("http://", "https://"))


def is_database(uri: str) -> bool:
    """Whether a store is a database that MLflow opens itself."""
    scheme, colon, _ = uri.partition("://")
    return bool(colon) and scheme.lower().partition("+")[0] in _DATABASES


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite database; None for one in memory and for other stores."""
    if not uri.lower().startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database or ":memory:"
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    return None if ":memory:" in name else Path(name)


def is_local(host: str | None) -> bool:
    """Whether the host of an address is this machine."""
    name = (host or "").lower().strip("[]").partition("%")[0].rstrip(".")
    if name in _LOCAL_NAMES or name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name)
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_unspecified
    # Short forms, as `127.1`, which the system knows, too.
    with contextlib.suppress(OSError, ValueError):
        return bool(name) and socket.inet_aton(name)[0] in _LOCAL_FIRST_BYTES
    return False


def split_credentials(uri: str) -> tuple[str, tuple[str, str] | None]:
    """Return the address of a server without credentials, and those that it holds.

    Raises:
        L2OError: It is no address.
    """
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise _no_address(uri) from None
    # What comes after the last @: what comes before may hold one.
    user, _, host = parts.netloc.rpartition("@")
    if not parts.hostname:
        raise _no_address(uri)
    name, _, password = user.partition(":")
    credentials = (unquote(name), unquote(password)) if user else None
    return urlunsplit(parts._replace(netloc=host)), credentials


def _no_address(uri: str) -> L2OError:
    return L2OError(
        f"{redact_address(uri)}: not the address of a server; in a user name or a password, write "
        "/ ? # [ ] @ : as %2F %3F %23 %5B %5D %40 %3A."
    )


def known_credentials() -> tuple[str, str] | None:
    """Return user and password as MLflow finds them: the environment, then its own file."""
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, OSError, ValueError, RuntimeError):
        parser.read(Path("~/.mlflow/credentials").expanduser(), encoding="utf-8")
    section = parser["mlflow"] if parser.has_section("mlflow") else {}
    user, password = (os.environ.get(name.upper()) or section.get(name) for name in names)
    return (user, password) if user and password else None


@contextlib.contextmanager
def prepared_environment(uri: str) -> Iterator[str]:
    """Let MLflow, which goes by the environment, reach a server as this package does.

    Meanwhile a server on this machine has no proxy, and the credentials that were given are those
    that are sent: they would be overruled by ``.netrc``, and be in messages if they stayed in the
    address.

    Yields:
        The address to give to MLflow.
    """
    if not is_server(uri):
        yield uri
        return
    changes: dict[str, str] = {}
    address, credentials = split_credentials(uri)
    if credentials:
        names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        changes |= dict(zip(names, credentials, strict=True))
    if credentials or known_credentials() or os.environ.get("MLFLOW_TRACKING_TOKEN"):
        changes["NETRC"] = os.devnull
    host = urlsplit(address).hostname
    if is_local(host):
        changes |= _without_proxy(str(host))
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield address
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _without_proxy(host: str) -> dict[str, str]:
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = ",".join(filter(None, [known, host]))
    return dict.fromkeys(("no_proxy", "NO_PROXY"), hosts)

"""HTTP to one server: no proxy for this machine, and credentials for nobody else."""

import os
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from l2o.tracking.addresses import is_local, known_credentials


class Session(requests.Session):
    """Goes by the proxies of the environment, except for a server on this machine."""

    def merge_environment_settings(self, url: str, *arguments: Any) -> dict[str, Any]:
        """Return the settings of one request."""
        settings = super().merge_environment_settings(url, *arguments)
        if is_local(urlsplit(url).hostname):
            settings["proxies"] = {}
        return settings

    def rebuild_proxies(
        self, request: requests.PreparedRequest, proxies: dict[str, str] | None
    ) -> dict[str, str]:
        """Return the proxies for where an answer leads to."""
        found = super().rebuild_proxies(request, proxies)
        if is_local(urlsplit(str(request.url)).hostname):
            request.headers.pop("Proxy-Authorization", None)
            return {}
        return found


class _Token(AuthBase):
    """Sends a token. As a mere header it would be overruled by ``.netrc``."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def open_session(credentials: tuple[str, str] | None) -> Session:
    """Give a session with what MLflow's variables say about credentials and certificates.

    Args:
        credentials: Those of the address, which come first.
    """
    session = Session()
    credentials = credentials or known_credentials()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if credentials:
        # As bytes: else `requests` refuses what is not Latin-1.
        session.auth = tuple(text.encode() for text in credentials)
    elif token:
        session.auth = _Token(token)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        session.verify = False
    elif certificate := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
        session.verify = certificate
    session.cert = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
    return session

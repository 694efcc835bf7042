"""No request, and so no password, goes to anybody but the server."""

import base64
import os
from urllib.parse import urlsplit

import pytest
import requests
from mlflow_stores import Recorder, put_job, recorder, runs_of

from l2o.tracking import main_sync, sync
from l2o.tracking.addresses import is_local, prepared_environment
from l2o.tracking.rest import RestClient
from l2o.tracking.sessions import Session

NAMES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that refuses everything and notes what it saw."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with recorder(502) as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home with credentials that nobody asked for."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".netrc").write_text("default login stranger password of-netrc\n")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("NETRC", raising=False)
    return folder


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.b.localhost",
        "ip6-localhost",
        "127.0.0.1",
        "127.255.1.2",
        "127.1",
        "127.1.",
        "2130706433",
        "0x7f.1",
        ".".join("0000"),  # a server that listens everywhere listens here, too
        "0",
        "::1",
        "[::1]",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "0:0:0:0:0:0:0:1",
        "::1%lo",
    ],
)
def test_this_machine_by_all_its_names(host):
    assert is_local(host)


@pytest.mark.parametrize(
    "host",
    [
        "mlflow.example",
        "localhost.example",
        "mylocalhost",
        "128.0.0.1",
        "10.0.0.1",
        "::2",
        "127.x",
        "::ffff:10.0.0.1",
        "127.0.0.1.example",
        "1.127",
        "",
    ],
)
def test_others_are_not_this_machine(host):
    assert not is_local(host or None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("host", ["127.0.0.1", "LocalHost", "127.1"])
def test_a_server_here_is_reached_without_a_proxy(server, proxy, monkeypatch, name, host):
    monkeypatch.setenv(name, proxy.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass-word")
    uri = server.uri.replace("127.0.0.1", host)
    made = RestClient(uri).experiment("l2o-rl")
    assert server.client.get_experiment_by_name("l2o-rl").experiment_id == made
    assert proxy.seen == []
    assert set(server.credentials) == {basic("admin", "pass-word")}


def test_nor_does_delivery_use_one(server, proxy, monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.setenv(name, proxy.uri)
    monkeypatch.setenv("NO_PROXY", "one.example")
    before = dict(os.environ)
    put_job(tmp_path / "results/a")
    # A password that has to be quoted, and is not Latin.
    uri = server.uri.replace("//", "//ad%40min:p%2Fä→@")
    report = sync(tmp_path / "results", uri)
    assert (report.errors, report.delivered, report.uri) == ([], 1, server.uri)
    assert list(runs_of(server.client)) == ["a"]
    assert proxy.seen == []
    assert set(server.credentials) == {basic("ad@min", "p/ä→")}
    changed = {name for name in before | dict(os.environ) if before.get(name) != os.getenv(name)}
    assert all(name.startswith("MLFLOW_") for name in changed), "left as it was for others"


@pytest.mark.parametrize("name", NAMES)
def test_another_server_is_reached_through_the_proxy(proxy, monkeypatch, tmp_path, name, capfd):
    monkeypatch.setenv(name, proxy.uri)
    with pytest.raises(requests.RequestException):
        RestClient("http://user:pass-word@mlflow.example:5000").experiment("l2o-rl")
    (path, credentials) = proxy.seen[-1]
    assert path.startswith("http://mlflow.example:5000/api/") and "pass-word" not in path
    assert credentials == basic("user", "pass-word")
    put_job(tmp_path / "results/a")
    assert main_sync(tmp_path / "results", "http://user:pass-word@mlflow.example:5000") == 1
    assert len(proxy.seen) == 2 and proxy.seen[-1][0].startswith("http://mlflow.example:5000/")
    shown = "".join(capfd.readouterr())
    assert "fails (502)" in shown and "pass-word" not in shown


def test_exceptions_of_the_user_hold_and_grow(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.uri)
    monkeypatch.setenv("no_proxy", "mlflow.example")
    session = Session()
    find = lambda url: session.merge_environment_settings(url, {}, None, None, None)  # noqa: E731
    assert not find("http://mlflow.example/")["proxies"].get("http")
    assert find("http://other.example/")["proxies"]["http"] == proxy.uri
    with prepared_environment("http://user:x@[::1]:5000/m") as address:
        assert address == "http://[::1]:5000/m"
        get = requests.utils.get_environ_proxies
        assert not get("http://[::1]:5000/m") and not get("http://mlflow.example/")
        assert get("http://other.example/")["http"] == proxy.uri


@pytest.mark.parametrize("kind", ["token", "variables", "address", "file"])
def test_netrc_does_not_overrule_what_was_given(server, monkeypatch, tmp_path, home, kind):
    uri, expected = server.uri, basic("me", "mine")
    if kind == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "my-token")
        expected = "Bearer my-token"
    elif kind == "variables":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "mine")
    elif kind == "address":
        uri = uri.replace("//", "//me:mine@")
    else:
        (home / ".mlflow").mkdir()
        lines = ["[mlflow]", "mlflow_tracking_username = me", "mlflow_tracking_password = mine"]
        (home / ".mlflow/credentials").write_text("\n".join(lines))
    RestClient(uri).experiment("l2o-rl")
    put_job(tmp_path / "results/a")
    assert sync(tmp_path / "results", uri).errors == []
    assert set(server.credentials) == {expected}


def test_netrc_is_used_where_nothing_was_given(server):
    RestClient(server.uri).experiment("l2o-rl")
    assert set(server.credentials) == {basic("stranger", "of-netrc")}


@pytest.mark.parametrize("kind", ["token", "password"])
def test_credentials_do_not_follow_to_another_place(monkeypatch, tmp_path, home, kind):
    (home / ".netrc").unlink()
    uri = "http://127.0.0.1:{}"
    if kind == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "my-token")
    else:
        uri = "http://me:mine@127.0.0.1:{}"
    with recorder(404) as other:
        lead = Recorder(lambda path: (307, {"Location": f"{other.uri}{path}"}, ""))
        with pytest.raises(requests.RequestException):
            RestClient(uri.format(lead.port)).experiment("l2o-rl")
        put_job(tmp_path / "results/a")
        assert len(sync(tmp_path / "results", uri.format(lead.port)).errors) == 1
        lead.close()
        assert len(other.seen) >= 2
        assert {credentials for _, credentials in other.seen} == {None}
    assert all(credentials for _, credentials in lead.seen)


def test_where_an_answer_leads_to_has_its_own_proxy(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.uri)
    away = Recorder(lambda _: (307, {"Location": "http://mlflow.example/x"}, ""))
    with pytest.raises(requests.RequestException):
        RestClient(away.uri).get("experiments/get")
    away.close()
    assert [urlsplit(path).hostname for path, _ in proxy.seen] == ["mlflow.example"]

"""Chromium without a window, driven through its WebDriver (Debian's package `chromium-driver`)."""

import base64
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from serving import free_port

_PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "driver": ("chromedriver",),
}


class Browser:
    """One window."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def open(self, url: str) -> None:
        self._post("url", url="about:blank")  # else another address after # loads nothing
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def text(self) -> str:
        """Return what the page shows."""
        return self.run("return document.body.innerText").replace("\xa0", " ")

    def count(self, selector: str) -> int:
        """Return how many elements there are."""
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def wait_for(self, *texts: str, selector: str | None = None, seconds: float = 60) -> str:
        """Wait until the page shows the texts and an element; return its text."""
        end = time.monotonic() + seconds
        while True:
            shown = self.text()
            missing = [text for text in texts if text not in shown]
            if not missing and (selector is None or self.count(selector)):
                return shown
            if time.monotonic() > end:
                self.screenshot(Path("results/test-artifacts/missing.png").absolute())
                raise AssertionError(f"{missing or selector} not in the page:\n{shown}")
            time.sleep(0.3)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        answer = requests.get(f"{self._base}/screenshot", timeout=60).json()
        path.write_bytes(base64.b64decode(answer["value"]))

    def close(self) -> None:
        requests.delete(self._base, timeout=30)

    def _post(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self._base}/{path}", json=body, timeout=90)
        assert answer.ok, answer.text
        return answer.json()["value"]


@contextlib.contextmanager
def open_browser(width: int = 1800, height: int = 1300) -> Iterator[Browser]:
    """Give a browser, or skip where there is none."""
    found = {}
    for what, names in _PROGRAMS.items():
        found[what] = next(filter(None, map(shutil.which, names)), None)
        if found[what] is None:
            pytest.skip(f"no {names[0]} here (Debian's packages `chromium`, `chromium-driver`)")
    port = free_port()
    driver = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen(
            [found["driver"], f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        browser = None
        try:
            browser = Browser(driver, _session(driver, found["chromium"], profile, width, height))
            yield browser
        finally:
            if browser is not None:
                with contextlib.suppress(requests.RequestException):
                    browser.close()
            process.terminate()
            process.wait(30)


def _session(driver: str, chromium: str, profile: str, width: int, height: int) -> str:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{driver}/status", timeout=5).json()["value"]["ready"]:
                break
        assert time.monotonic() < end, "chromedriver does not answer"
        time.sleep(0.1)
    arguments = [
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--window-size={width},{height}",
        f"--user-data-dir={profile}",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's sandbox refuses root
    options = {"binary": chromium, "args": arguments}
    capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
    answer = requests.post(f"{driver}/session", json={"capabilities": capabilities}, timeout=90)
    assert answer.ok, answer.text
    return answer.json()["value"]["sessionId"]

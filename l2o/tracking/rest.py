"""The few calls of MLflow's REST API that a running job makes.

MLflow's own client takes seconds of processor time to import, more than all that a short job logs;
this one takes a tenth of a second, and needs no MLflow where jobs run.
"""

import os
import re
from typing import Any

import requests

from l2o.tracking.addresses import split_credentials
from l2o.tracking.experiment import NOT_YET, OURS, WRITTEN_TAG, deleted, pick_renamed
from l2o.tracking.sessions import open_session
from l2o.tracking.store import METRIC_BATCH, PARAM_BATCH

# In a search, `_` stands for any character, and quotes have no other way to be in a text.
_PLAIN, _STRANGE = re.compile(r"[\w@.:+/ -]*"), re.compile(r"[^\w@.:+/ -]")


class RestClient:
    """Talks to one MLflow server.

    Credentials are those of the address, or ``MLFLOW_TRACKING_USERNAME`` and
    ``MLFLOW_TRACKING_PASSWORD``, or those of MLflow's own file, or ``MLFLOW_TRACKING_TOKEN``.
    """

    def __init__(self, uri: str) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            uri: Where the server is, ``http`` or ``https``.

        Raises:
            L2OError: That is no address.
        """
        address, credentials = split_credentials(uri)
        self._base = f"{address.rstrip('/')}/api/2.0/mlflow/"
        # Long: nobody waits for it, and asking a busy server again makes it busier.
        self._timeout = float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") or "60")
        self._session = open_session(credentials)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask for something.

        Raises:
            requests.RequestException: The server is away or refuses.
        """
        return self._checked(
            self._session.get(self._base + path, params=query, timeout=self._timeout)
        )

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send something.

        Raises:
            requests.RequestException: The server is away or refuses.
        """
        return self._checked(
            self._session.post(self._base + path, json=body, timeout=self._timeout)
        )

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made if there is none.

        Raises:
            StoreError: It was deleted in MLflow.
        """
        try:
            return self._find_experiment(name)
        except requests.HTTPError as error:
            if error.response.status_code != 404:
                raise
        if renamed := self._find_renamed():
            return renamed
        tags = [{"key": WRITTEN_TAG, "value": NOT_YET}]
        try:
            return self.post("experiments/create", name=name, tags=tags)["experiment_id"]
        except requests.HTTPError as error:
            if "RESOURCE_ALREADY_EXISTS" not in error.response.text:
                raise
        return self._find_experiment(name)  # another job was faster

    def _find_experiment(self, name: str) -> str:
        found = self.get("experiments/get-by-name", experiment_name=name)["experiment"]
        if found.get("lifecycle_stage") == "deleted":
            raise deleted(found["experiment_id"])
        return found["experiment_id"]

    def _find_renamed(self) -> str | None:
        answer = self.post("experiments/search", filter=OURS, max_results=1000)
        found = answer.get("experiments", [])
        return pick_renamed({e["experiment_id"]: int(e.get("creation_time", 0)) for e in found})

    def find_runs(self, experiment: str, tag: str, value: str) -> list[dict[str, Any]]:
        """Return the runs with a tag, also deleted ones, oldest first."""
        body = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{tag}` {_matches(value)}",
            "run_view_type": "ALL",
        }
        runs = self.post("runs/search", **body).get("runs", [])
        runs = [run for run in runs if tags_of(run).get(tag) == value]
        return sorted(runs, key=lambda run: (run["info"]["start_time"], run["info"]["run_id"]))

    def create_run(self, experiment: str, name: str, start: int, tags: dict[str, str]) -> str:
        """Make a run and return its id.

        Args:
            experiment: Id.
            name: Shown by MLflow.
            start: Milliseconds since the epoch.
            tags: Of the run.
        """
        body = {
            "experiment_id": experiment,
            "run_name": name,
            "start_time": start,
            "tags": [{"key": key, "value": text} for key, text in tags.items()],
        }
        return self.post("runs/create", **body)["run"]["info"]["run_id"]

    def log_params(self, run: str, params: dict[str, str]) -> None:
        """Add params to a run."""
        rows = [{"key": key, "value": text} for key, text in params.items()]
        for i in range(0, len(rows), PARAM_BATCH):
            self.post("runs/log-batch", run_id=run, params=rows[i : i + PARAM_BATCH])

    def log_metrics(self, run: str, metrics: list[dict[str, Any]]) -> None:
        """Add points to a run; points that it has, time and value included, stay single."""
        for i in range(0, len(metrics), METRIC_BATCH):
            self.post("runs/log-batch", run_id=run, metrics=metrics[i : i + METRIC_BATCH])

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    @staticmethod
    def _checked(response: requests.Response) -> dict[str, Any]:
        response.raise_for_status()
        return response.json()


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    """Return the tags of a run as the server sends it."""
    return {tag["key"]: tag.get("value", "") for tag in run["data"].get("tags", [])}


def _matches(value: str) -> str:
    """Return what a search compares with; a little more may match where it knows no quoting."""
    if _PLAIN.fullmatch(value):
        return f"= '{value}'"
    return f"LIKE '{_STRANGE.sub('_', value)}'"

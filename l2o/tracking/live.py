"""A running job on an MLflow server, from a thread that reads the job's own files.

The job writes its files and never waits for the server. Whatever does not get through, or only
while the job is ending, is completed by ``l2o track sync``.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.jobs.history import SYSTEM, History, plain
from l2o.jobs.reading import PREFIXES, JobRecord, Point, line_points
from l2o.jobs.record import Run
from l2o.redaction import redact_address
from l2o.tracking.addresses import is_server
from l2o.tracking.experiment import EXPERIMENT
from l2o.tracking.parents import is_parent, parent_of
from l2o.tracking.store import (
    DELIVERY_TAG,
    INVOCATION_TAG,
    LIVE,
    METRIC_BATCH,
    PARENT_TAG,
    RUN_KEY_TAG,
    note_run,
)

if TYPE_CHECKING:
    from l2o.tracking.rest import RestClient


def follow_jobs() -> None:
    """Show every job of this process on the server that the environment names, while it runs.

    The variable is MLflow's own, ``MLFLOW_TRACKING_URI``; a store that is no server shows jobs when
    they are delivered.
    """
    Run.follow = _follow


def _follow(
    out_dir: Path, record: Mapping[str, Any], metrics: History, system: History
) -> "LiveRun | None":
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return LiveRun(uri, out_dir, record, metrics, system) if is_server(uri) else None


class LiveRun:
    """Delivers a job's points every few seconds until it is stopped; it never raises.

    Attributes:
        interval: Seconds between two deliveries.
        longest_pause: Seconds between two attempts when the server has been away for long.
        farewell: Seconds that the end of a job waits for the last delivery.
    """

    interval = 3.0
    longest_pause = 60.0
    farewell = 3.0

    def __init__(
        self, uri: str, out_dir: Path, record: Mapping[str, Any], metrics: History, system: History
    ) -> None:
        """Begin to deliver.

        Args:
            uri: The server.
            out_dir: The directory of the job.
            record: What is known about the job when it begins, as in ``run.json``.
            metrics: The job's own metrics.
            system: Those of its machine.
        """
        self._uri = uri
        self._job = JobRecord(out_dir, record["run_key"], dict(record))
        self._tails = [_Tail(metrics, ""), _Tail(system, PREFIXES[SYSTEM])]
        self._client: RestClient | None = None
        self._run_id: str | None = None
        self._latest: dict[str, int] = {}
        self._status: str | None = None
        self._is_complete = self._is_unwanted = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="l2o-live", daemon=True)
        self._thread.start()

    def stop(self, status: str) -> None:
        """Deliver the rest and end the run, unless that takes too long.

        Args:
            status: How the job ended, as MLflow says it.
        """
        self._status = status
        self._stop.set()
        self._thread.join(self.farewell)
        if not self._is_complete:
            name = redact_address(self._uri)
            text = f"{name}: not everything was delivered; `l2o track sync` completes it"
            print(text, file=sys.stderr)

    def _follow(self) -> None:
        pause = 0.0
        while True:
            is_last = self._stop.wait(pause)
            try:
                self._deliver()
                if is_last:
                    self._end()
                pause = self.interval
            except Exception:  # of whatever kind: tracking never stops training
                pause = min(2 * max(pause, self.interval), self.longest_pause)
            if is_last:
                return

    def _deliver(self) -> None:
        if self._run_id is None and not self._is_unwanted:
            self._open()
        if self._is_unwanted:
            return
        for tail in self._tails:
            is_full = True
            while is_full:  # what is added meanwhile waits until it is worth a request
                points = tail.read(self._latest)
                is_full = len(points) >= METRIC_BATCH
                if points:
                    self._client.log_metrics(self._run_id, [_as_json(point) for point in points])
                    self._latest |= {point.name: point.step for point in points}
                tail.advance()

    def _open(self) -> None:
        """Make the job's run on the server or, after a kill, go on with the one that is there."""
        if self._client is None:
            from l2o.tracking.rest import RestClient

            self._client = RestClient(self._uri)
        client, job = self._client, self._job
        experiment = client.experiment(EXPERIMENT)
        found = client.find_runs(experiment, RUN_KEY_TAG, job.key)
        known: set[str] = set()
        if found and all(map(_is_deleted, found)):
            # A person did that: the run stays deleted, and for sync it was delivered.
            self._is_unwanted = True
            return
        if found:
            found.sort(key=_is_deleted)
            run_id, data = found[0]["info"]["run_id"], found[0]["data"]
            client.post("runs/update", run_id=run_id, status="RUNNING")
            known = {param["key"] for param in data.get("params", [])}
            # Steps increase: what is not later than the last one is there.
            self._latest = {m["key"]: int(m.get("step", 0)) for m in data.get("metrics", [])}
        else:
            tags = job.labels() | {RUN_KEY_TAG: job.key, DELIVERY_TAG: LIVE}
            tags |= self._parent_tags(client, experiment)
            run_id = client.create_run(experiment, job.name, job.start_ms, tags)
        params = {name: text for name, text in job.params().items() if name not in known}
        client.log_params(run_id, params)
        note_run(job, self._uri, experiment, run_id)
        self._run_id = run_id

    def _parent_tags(self, client: "RestClient", experiment: str) -> dict[str, str]:
        """Return the tags that put the run below that of its pipeline.

        Of jobs that begin together, several may make that run: all look again and take the oldest.
        Should two of them still differ, the next ``sync`` leaves one.
        """
        invocation = self._job.invocation
        if not invocation:
            return {}
        parents = self._find_parents(client, experiment)
        if not parents:
            name, tags = parent_of(self._job)
            mine = client.create_run(experiment, name, _now(), tags)
            parents = self._find_parents(client, experiment)
            if mine != parents[0]:
                client.post("runs/delete", run_id=mine)
        return {INVOCATION_TAG: invocation, PARENT_TAG: parents[0]}

    def _find_parents(self, client: "RestClient", experiment: str) -> list[str]:
        from l2o.tracking.rest import tags_of

        runs = client.find_runs(experiment, INVOCATION_TAG, str(self._job.invocation))
        # One that a person deleted stays deleted, with its jobs below it.
        runs.sort(key=_is_deleted)
        return [run["info"]["run_id"] for run in runs if is_parent(tags_of(run))]

    def _end(self) -> None:
        if self._run_id is not None:
            self._close(self._run_id)
        self._client.close()
        self._is_complete = True

    def _close(self, run_id: str) -> None:
        end = {} if self._status == "SCHEDULED" else {"end_time": _now()}
        self._client.post("runs/update", run_id=run_id, status=self._status, **end)


class _Tail:
    """Reads what is added to a history."""

    def __init__(self, history: History, prefix: str) -> None:
        self._history, self._prefix = history, prefix
        self._generation, self._offset, self._next = 0, 0, 0

    def read(self, latest: Mapping[str, int]) -> list[Point]:
        """Return new points, at most a batch and a line, without those known to the server.

        Args:
            latest: The last step of each metric that the server has.
        """
        generation = self._history.generation
        if generation == 0:
            return []  # what is in the file is of an earlier job
        if generation != self._generation:
            self._generation, self._offset = generation, 0
        points: list[Point] = []
        self._next = self._offset
        with open(self._history.path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if len(points) >= METRIC_BATCH or not line.endswith(b"\n"):
                    break
                self._next += len(line)
                found = line_points(json.loads(line), self._prefix)
                points += [p for p in found if p.step > latest.get(p.name, -sys.maxsize)]
        return points

    def advance(self) -> None:
        """Go on after what was read."""
        self._offset = self._next


def _as_json(point: Point) -> dict[str, Any]:
    value = plain(point.value)
    return {"key": point.name, "value": value, "timestamp": point.time, "step": point.step}


def _now() -> int:
    return round(time.time() * 1000)


def _is_deleted(run: dict[str, Any]) -> bool:
    return run["info"].get("lifecycle_stage") == "deleted"

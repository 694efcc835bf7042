"""The runs that stand for invocations of the pipeline, above those of their jobs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from l2o.jobs.reading import JobRecord
from l2o.tracking.store import INVOCATION_TAG, PARENT_TAG, RUN_KEY_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

PIPELINE = "pipeline"


class Parents:
    """Those of one experiment, made when their first job is delivered."""

    def __init__(self, client: "MlflowClient", experiment: str) -> None:
        """Know none yet.

        Args:
            client: The store.
            experiment: Id.
        """
        self._client, self._experiment = client, experiment
        self._parents: dict[str, MlflowRun] = {}

    def add(self, run: "MlflowRun") -> None:
        """Take a parent; of two that jobs made at the same time, only the older one stays.

        One that a person deleted stays deleted, and its jobs stay below it, unless there is
        another.
        """
        invocation = run.data.tags[INVOCATION_TAG]
        both = [run, *filter(None, [self._parents.get(invocation)])]
        kept, *others = sorted(both, key=_rank)
        self._parents[invocation] = kept
        for other in filter(_is_active, others):
            self._client.delete_run(other.info.run_id)

    def adopt(self, child: "MlflowRun", runs: dict[str, "MlflowRun"]) -> None:
        """Take the parent of a job that lost its tag, and give the tag back.

        Args:
            child: The run of the job.
            runs: All, by id.
        """
        tags = child.data.tags
        invocation, parent = tags.get(INVOCATION_TAG), runs.get(tags.get(PARENT_TAG, ""))
        if not invocation or invocation in self._parents or parent is None:
            return
        if INVOCATION_TAG not in parent.data.tags:
            if _is_active(parent):
                self._client.set_tag(parent.info.run_id, INVOCATION_TAG, invocation)
            self._parents[invocation] = parent

    def tags(self, job: JobRecord) -> dict[str, str]:
        """Return the tags that put a job below its parent."""
        if not job.invocation:
            return {}
        if job.invocation not in self._parents:
            name, tags = parent_of(job)
            self._parents[job.invocation] = self._client.create_run(
                self._experiment, job.start_ms, tags, name
            )
        parent = self._parents[job.invocation]
        return {INVOCATION_TAG: job.invocation, PARENT_TAG: parent.info.run_id}

    def end(self, jobs: list[JobRecord]) -> None:
        """End every parent when its last job ended."""
        for invocation, parent in self._parents.items():
            ends = [job.end_ms for job in jobs if job.invocation == invocation]
            if ends and _is_active(parent) and (parent.info.end_time or 0) < max(ends):
                self._client.set_terminated(parent.info.run_id, "FINISHED", max(ends))


def is_parent(tags: Mapping[str, str]) -> bool:
    """Whether tags are those of a parent; a job's run that lost some is none."""
    is_job = RUN_KEY_TAG in tags or PARENT_TAG in tags
    return INVOCATION_TAG in tags and not is_job and tags.get("stage", PIPELINE) == PIPELINE


def parent_of(first: JobRecord) -> tuple[str, dict[str, str]]:
    """Return the name and the tags of the run of a pipeline invocation, by its first job."""
    scale = first.record["tags"].get("scale", "pipeline")
    name = f"{scale} {first.record['started'][:16].replace('T', ' ')}"
    return name, {INVOCATION_TAG: first.invocation or "", "stage": PIPELINE, "scale": scale}


def _rank(run: "MlflowRun") -> tuple[bool, int, str]:
    return not _is_active(run), run.info.start_time, run.info.run_id


def _is_active(run: "MlflowRun") -> bool:
    return run.info.lifecycle_stage == "active"

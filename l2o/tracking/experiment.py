"""The experiment that holds all runs: found or made, and described."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from l2o.jobs.history import read_history
from l2o.jobs.reading import STORE_FOLDERS, JobRecord
from l2o.tracking.addresses import is_server
from l2o.tracking.description import NOTE_TAG, ablations_of, experiment_tags
from l2o.tracking.problems import StoreError

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

EXPERIMENT = "l2o-rl"
# On the experiment: a digest of the description that was written here last. It also tells ours
# from others after somebody gave it another name.
WRITTEN_TAG, NOT_YET = "l2o.description", "none yet"
OURS = f"tags.`{WRITTEN_TAG}` LIKE '%'"


def open_experiment(client: "MlflowClient", uri: str, root: Path) -> str:
    """Return the id of the experiment; a server decides itself where artifacts are kept.

    Raises:
        StoreError: It was deleted in MLflow.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT) or _renamed(client)
    if experiment is None:
        return _create(client, uri, root)
    if experiment.lifecycle_stage == "deleted":
        raise deleted(experiment.experiment_id)
    return experiment.experiment_id


def deleted(experiment: str) -> StoreError:
    """Build the error for an experiment that was deleted in MLflow, but holds its name."""
    return StoreError(
        f"the experiment '{EXPERIMENT}' was deleted in MLflow: restore it (`mlflow experiments "
        f"restore -x {experiment}`), or remove it for good (`mlflow gc --experiment-ids "
        f"{experiment}`), and run `l2o track sync` again."
    )


def pick_renamed(found: Mapping[str, int]) -> str | None:
    """Return which of the active experiments that bear our tag goes on: the one made last.

    Args:
        found: When each was made, by id.
    """
    return max(found, key=lambda key: (found[key], key), default=None)


def _renamed(client: "MlflowClient") -> "Experiment | None":
    found = {e.experiment_id: e for e in client.search_experiments(filter_string=OURS)}
    picked = pick_renamed({key: e.creation_time or 0 for key, e in found.items()})
    return found[picked] if picked else None


def _create(client: "MlflowClient", uri: str, root: Path) -> str:
    from mlflow.exceptions import MlflowException

    location = None if is_server(uri) else _artifacts(root)
    try:
        return client.create_experiment(EXPERIMENT, location, {WRITTEN_TAG: NOT_YET})
    except MlflowException as error:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
            raise
        return experiment.experiment_id  # another process was faster


def _artifacts(root: Path) -> str:
    try:
        str(root).encode()
    except UnicodeEncodeError:
        name = ascii(str(root))
        raise StoreError(f"{name}: MLflow needs a name that is UTF-8; rename the folder.") from None
    return (root / STORE_FOLDERS[0]).as_uri()


def describe_experiment(client: "MlflowClient", experiment: str, jobs: list[JobRecord]) -> None:
    """Bring the description of the experiment, and its views, up to date.

    A description that people wrote or changed stays as it is.

    Args:
        client: The store.
        experiment: Id.
        jobs: All that it shows.
    """
    known = client.get_experiment(experiment).tags
    wanted = experiment_tags(*_what_is_compared(jobs), experiment)
    if NOTE_TAG in known and _digest(known[NOTE_TAG]) != known.get(WRITTEN_TAG):
        del wanted[NOTE_TAG]
    else:
        wanted[WRITTEN_TAG] = _digest(wanted[NOTE_TAG])
    for name, text in wanted.items():
        if known.get(name) != text:
            client.set_experiment_tag(experiment, name, text)


def _what_is_compared(jobs: list[JobRecord]) -> tuple[list[str], list[str]]:
    """Return the ablations of meta-training, and what the names of its metrics begin with."""
    trained = [job for job in jobs if job.record["stage"] == "meta_train"]
    first = (next(read_history(job.directory), {"metrics": {}}) for job in trained)
    names = (name for line in first for name in line["metrics"] if "/" in name)
    sections = dict.fromkeys(name.rpartition("/")[0] for name in names)
    return ablations_of(label for job in trained for label in job.labels()), list(sections)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""The selected optimizer in MLflow's model registry, under an alias."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.errors import ResultsError
from l2o.files import read_json, sha256
from l2o.jobs import Job, shorten

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

REGISTERED_MODEL = "l2o-optimizer"
CHAMPION_ALIAS = "champion"
CHAMPION_FILE = "champion.json"

_ARTIFACT_FOLDER = "champion"


def publish_champion(client: "MlflowClient", job: Job, run: "MlflowRun") -> bool:
    """Register the weights that a job selected, if it did, and point the alias at them.

    Args:
        client: The store.
        job: The job; its ``champion.json`` names the weight file and its digest.
        run: The MLflow run of the job, which gets the weight file as an artifact.

    Returns:
        Whether a version was added; the same weights of the same run are added once.

    Raises:
        ResultsError: ``champion.json`` does not describe an existing, unchanged weight file.
    """
    path = job.directory / CHAMPION_FILE
    if not job.finished or not path.exists():
        return False
    champion = read_json(path)
    weights = _checked_weights(path, champion)
    run_id = run.info.run_id
    client.log_artifact(run_id, str(weights), _ARTIFACT_FOLDER)
    _ensure_registered_model(client)
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    version = next((v for v in versions if v.tags.get("sha256") == champion["sha256"]), None)
    added = version is None
    if version is None:
        source = f"{run.info.artifact_uri}/{_ARTIFACT_FOLDER}"
        version = client.create_model_version(
            REGISTERED_MODEL, source, run_id, _tags(job, champion), await_creation_for=0
        )
    _move_alias(client, version)
    return added


def _checked_weights(path: Path, champion: Any) -> Path:
    try:
        weights, digest = path.parent / champion["checkpoint"], champion["sha256"]
    except (KeyError, TypeError):
        raise ResultsError(f"{path}: needs 'checkpoint' and 'sha256'.") from None
    if weights.suffix != ".safetensors" or not weights.is_file():
        raise ResultsError(f"{path}: {weights} is not an existing .safetensors file.")
    if sha256(weights) != digest:
        raise ResultsError(f"{path}: {weights} has changed since it was selected.")
    return weights


def _tags(job: Job, champion: dict[str, Any]) -> dict[str, str]:
    tags = {name: champion.get(name) for name in ("sha256", "recipe", "step")}
    tags |= {"started": job.record["started"], "scale": job.record["tags"].get("scale")}
    return {name: shorten(value) for name, value in tags.items() if value is not None}


def _ensure_registered_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(REGISTERED_MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _move_alias(client: "MlflowClient", version: "ModelVersion") -> None:
    """Point the alias at a version, unless it is at one from a later job."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):
        current = client.get_model_version_by_alias(REGISTERED_MODEL, CHAMPION_ALIAS)
        if current.tags.get("started", "") > version.tags["started"]:
            return
    client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS, version.version)

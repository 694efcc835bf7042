"""The selected optimizers in MLflow's model registry, under aliases.

Every selection adds a version. ``candidate`` is the newest selection. ``champion`` is the best one:
a selection takes that alias if there is no champion yet, if its validation score is at least the
champion's, or if the two scores cannot be compared (another scale, other validation tasks) and it
is the newer one. ``champion-<scale>`` is the same for the selections of one scale alone, so that a
trial at a small scale does not hide the champion of a large one.
"""

import math
import re
from typing import TYPE_CHECKING, Any

from l2o.errors import ResultsError
from l2o.files import read_json, sha256
from l2o.jobs.reading import JobRecord, shorten

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

REGISTERED_MODEL = "l2o-optimizer"
CHAMPION_ALIAS = "champion"
CANDIDATE_ALIAS = "candidate"
CHAMPION_FILE = "champion.json"

_ARTIFACT_FOLDER = "champion"


def publish_selection(client: "MlflowClient", job: JobRecord, run: "MlflowRun") -> bool:
    """Register the weights that a job selected, if it did, and give them the aliases they earn.

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
            REGISTERED_MODEL,
            source,
            run_id,
            _tags(job, champion),
            description=_describe(champion),
            await_creation_for=0,
        )
    _give_aliases(client, version)
    return added


def _checked_weights(path: "Path", champion: Any) -> "Path":
    try:
        weights, digest = path.parent / champion["checkpoint"], champion["sha256"]
    except (KeyError, TypeError):
        raise ResultsError(f"{path}: needs 'checkpoint' and 'sha256'.") from None
    if weights.suffix != ".safetensors" or not weights.is_file():
        raise ResultsError(f"{path}: {weights} is not an existing .safetensors file.")
    if sha256(weights) != digest:
        raise ResultsError(f"{path}: {weights} has changed since it was selected.")
    return weights


def _tags(job: JobRecord, champion: dict[str, Any]) -> dict[str, str]:
    names = ("sha256", "recipe", "seed", "outer_step", "step", "score")
    tags = {name: champion.get(name) for name in names}
    tasks = champion.get("validation_tasks")
    tags["validation_tasks"] = ",".join(map(str, tasks)) if isinstance(tasks, list) else None
    tags |= {"started": job.record["started"], "scale": job.record["tags"].get("scale")}
    return {name: shorten(value) for name, value in tags.items() if value is not None}


def _describe(champion: dict[str, Any]) -> str:
    """Say where the weights come from and how good they were."""
    recipe, step = champion.get("recipe"), champion.get("outer_step", champion.get("step"))
    score, tasks = champion.get("score"), champion.get("validation_tasks")
    text = f"Recipe {recipe}, seed {champion.get('seed')}, outer step {step}."
    if isinstance(score, float) and isinstance(tasks, list):
        where = ", ".join(map(str, tasks))
        text += f" Validation score {score:.3f} on {where} (0: random policy, 1: tuned Adam)."
    return text


def _ensure_registered_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(REGISTERED_MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _give_aliases(client: "MlflowClient", version: "ModelVersion") -> None:
    """Point the aliases at a version where it deserves them, in whatever order it arrives."""
    scale = re.sub(r"[^\w-]", "-", version.tags.get("scale", ""))
    best = [CHAMPION_ALIAS, *([f"{CHAMPION_ALIAS}-{scale}"] if scale else [])]
    rules = dict.fromkeys(best, takes_over) | {CANDIDATE_ALIAS: _is_newer}
    for alias, takes in rules.items():
        current = _holder(client, alias)
        if current is None or takes(version.tags, current.tags):
            client.set_registered_model_alias(REGISTERED_MODEL, alias, version.version)


def _holder(client: "MlflowClient", alias: str) -> "ModelVersion | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(REGISTERED_MODEL, alias)
    except MlflowException as error:
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None
        raise


def takes_over(tags: dict[str, str], champion: dict[str, str]) -> bool:
    """Whether a selection takes the alias from a champion; both are known by their tags."""
    mine, other = (_score(version) for version in (tags, champion))
    is_comparable = all(
        tags.get(name) == champion.get(name) for name in ("scale", "validation_tasks")
    )
    if not is_comparable or math.isnan(mine) or math.isnan(other) or mine == other:
        return _is_newer(tags, champion)
    return mine > other


def _is_newer(tags: dict[str, str], other: dict[str, str]) -> bool:
    return tags.get("started", "") >= other.get("started", "")


def _score(tags: dict[str, str]) -> float:
    """Return a version's validation score, NaN if it has none."""
    try:
        return float(tags["score"])
    except (KeyError, ValueError):
        return math.nan

"""What a job was made from, as MLflow's "datasets": the settings, by name and digest."""

import hashlib
import json
from typing import TYPE_CHECKING

from l2o.jobs.reading import JobRecord

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

# MLflow's limits; half of a SHA-256 is enough to tell settings apart.
_DIGEST_LENGTH, _MAX_SOURCE = 32, 65_535


def inputs_of(job: JobRecord) -> "list[DatasetInput]":
    """Return a job's settings: a recipe for meta-training, and else those of the stage.

    Jobs that differ in the seed alone share it.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    stage, recipe = job.record["stage"], job.record["tags"].get("recipe")
    is_recipe = stage == "meta_train" and recipe
    name, context = (f"recipe {recipe}", "recipe") if is_recipe else (f"{stage} settings", "config")
    text = json.dumps(job.record["config"], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    dataset = Dataset(
        name=name,
        digest=digest[:_DIGEST_LENGTH],
        source_type="json",
        source=text if len(text) <= _MAX_SOURCE else json.dumps({"file": "run.json"}),
        profile=json.dumps({"sha256": digest}),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]

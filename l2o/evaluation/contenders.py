"""Who takes part in the transfer evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from l2o.errors import CheckpointError
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.files import AGAIN, read_json, sha256

if TYPE_CHECKING:
    from l2o.config.parts import Contenders

_SELECTED = ("champion", "untrained")


def find_contenders(names: Contenders, selection: Path, meta_train: Path) -> list[Candidate]:
    """Return every optimizer of the transfer evaluation, learned ones at their own rates.

    The champion, its untrained initialisation, the last checkpoint of every other recipe that is
    named (a rule fixed in advance), and the classical optimizers, whose rates are NaN until tuned.

    Args:
        names: Who takes part.
        selection: Folder of the selection.
        meta_train: Folder with the runs of meta-training, ``<recipe>/seed_<seed>``.

    Raises:
        CheckpointError: The champion's file is not the one that was selected, or a checkpoint is
            that of another optimizer than its recipe's.
    """
    champion = selection / "champion.safetensors"
    if sha256(champion) != read_json(selection / "champion.json")["sha256"]:
        raise CheckpointError(f"{champion}: not the file that was selected; {AGAIN}.")
    paths = {name: (names.selected, selection / f"{name}.safetensors") for name in _SELECTED}
    for recipe, seed in names.others.items():
        paths[recipe] = recipe, checkpoint_series(meta_train / recipe / f"seed_{seed}")[-1]
    learned = [
        _learned(recipe, names.optimizers[recipe], path, label)
        for label, (recipe, path) in paths.items()
    ]
    return [*learned, *(Candidate(name, name, float("nan")) for name in names.classical)]


def untuned(candidates: list[Candidate]) -> list[Candidate]:
    """Return the meta-trained optimizers among the contenders: each at its own rate."""
    learned = (c for c in candidates if not isinstance(c.optimizer, str))
    return [candidate for candidate in learned if candidate.label != "untrained"]


def with_rates(candidates: list[Candidate], rates: dict[str, float]) -> list[Candidate]:
    """Return the candidates with the learning rates chosen for their labels.

    Raises:
        CheckpointError: The rates were chosen for other optimizers.
    """
    missing = [c.label for c in candidates if c.label not in rates]
    if missing:
        raise CheckpointError(f"no learning rate was tuned for {', '.join(missing)}: run `tune`.")
    return [dataclasses.replace(c, learning_rate=rates[c.label]) for c in candidates]


def _learned(recipe: str, wanted: str, path: Path, label: str) -> Candidate:
    """Read a checkpoint that must be of the recipe's optimizer."""
    candidate = resolve(str(path), None, label=label)
    if candidate.optimizer.name != wanted:
        raise CheckpointError(
            f"{path}: a checkpoint of '{candidate.optimizer.name}', but recipe '{recipe}' has "
            f"'{wanted}'; run the meta-training again."
        )
    return candidate

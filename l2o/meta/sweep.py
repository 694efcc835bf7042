"""Meta-training of the rows of a table, each program once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from l2o.files import atomic_path, copy_folder, read_json
from l2o.jobs import RECORD
from l2o.jobs.history import plain
from l2o.meta.build import program_of
from l2o.meta.train import Member, meta_train

if TYPE_CHECKING:
    from l2o.config.sweeps import Row


def train_rows(
    rows: Sequence[Row],
    recipe: str,
    out: Path,
    state: Path,
    tags: dict[str, str],
    code: str,
    devices: int = 1,
) -> None:
    """Meta-train rows of a sweep; results are those of as many single runs.

    Rows that share a program run side by side in it; one after the other where they do not.

    Args:
        rows: The rows.
        recipe: Name of the recipe that they start from.
        out: Folder of the sweep's results; each row has one below.
        state: Folder to resume from after a kill; removed when done.
        tags: For the records.
        code: Version of the code; what another one left is not resumed from.
        devices: Devices that share the rows.

    Raises:
        L2OError: A recipe is wrong.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(program_of(row.recipe), []).append(row)
    # Snakemake deletes the outputs of a job that failed: finished groups are kept here until all
    # are done, apart for each version of the code.
    kept = state / "finished"
    for i, group in enumerate(groups.values()):
        copy = kept / f"{i}_{code}"
        if all(_is_done(row, out) for row in group):
            continue
        if all(_is_done(row, copy) for row in group):
            _copy(group, copy, out)
            continue
        members = [Member(row.recipe, recipe, row.seed, out / row.folder) for row in group]
        meta_train(members, state / str(i), tags, code, devices)
        if len(groups) > 1:
            _keep(group, out, copy)
    shutil.rmtree(kept, ignore_errors=True)
    with contextlib.suppress(OSError):  # there is none, or it holds what is not ours
        state.rmdir()


def _is_done(row: Row, folder: Path) -> bool:
    """Whether an earlier, interrupted call has finished this very run."""
    path = folder / row.folder / RECORD
    wanted = {"config": plain(row.recipe.model_dump()), "seed": row.seed}
    return path.is_file() and wanted.items() <= read_json(path).items()


def _keep(rows: Sequence[Row], out: Path, copy: Path) -> None:
    """Copy finished runs; whoever finds the copy finds all of it."""
    with atomic_path(copy) as partial:
        _copy(rows, out, partial)
        shutil.rmtree(copy, ignore_errors=True)


def _copy(rows: Sequence[Row], source: Path, target: Path) -> None:
    for row in rows:
        copy_folder(source / row.folder, target / row.folder)

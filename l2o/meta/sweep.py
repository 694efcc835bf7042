"""The stage `sweep`: meta-train all rows of a table, each program once."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from l2o.config.models import Config
from l2o.config.sweeps import Row, find_row, read_sweep
from l2o.files import atomic_path, copy_folder, read_json
from l2o.jobs.record import RECORD, plain
from l2o.jobs.versions import code_version
from l2o.meta.build import program_of
from l2o.meta.train import Member, meta_train


def sweep(
    config: Config, name: str, out: Path, state: Path, devices: int = 1, only: str | None = None
) -> None:
    """Meta-train every row of a sweep; results are those of as many single runs.

    Rows that share a program run side by side in it; one after the other where they do not.

    Args:
        config: The pipeline's configuration.
        name: One of its sweeps.
        out: Folder of the sweep's results; each row has one below.
        state: Folder to resume from after a kill; removed when done.
        devices: Devices that share the rows.
        only: Folder of the one row to train.

    Raises:
        L2OError: There is no such sweep or row, or its table or a recipe is wrong.
    """
    rows = read_sweep(config, name)
    groups: dict[str, list[Row]] = {}
    for row in rows if only is None else [find_row(rows, only)]:
        groups.setdefault(program_of(row.recipe), []).append(row)
    # Snakemake deletes the outputs of a job that failed: finished groups are kept here until all
    # are done, apart for each version of the code.
    kept = state / "finished"
    label = config.sweeps[name].recipe
    tags = {"scale": config.scale, "sweep": name}
    for i, group in enumerate(groups.values()):
        copy = kept / f"{i}_{code_version('sweep')}"
        if all(_is_done(row, out) for row in group):
            continue
        if all(_is_done(row, copy) for row in group):
            _copy(group, copy, out)
            continue
        members = [Member(row.recipe, label, row.seed, out / row.folder) for row in group]
        meta_train(members, state / str(i), tags, devices)
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

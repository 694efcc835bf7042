"""Resume state of a killed job: orbax checkpoints that belong to one exact configuration."""

import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from l2o.errors import CheckpointError
from l2o.files import read_json, write_json
from l2o.processes import is_writer, wait_for_all

Tree = Any


class ResumeState:
    """The newest checkpoints of one job, in a folder outside its declared outputs.

    Snakemake deletes the outputs of a failed job, so that what a job resumes from must be
    elsewhere. A folder made with another configuration is emptied, never resumed from.
    """

    def __init__(self, folder: str | Path, fingerprint: dict[str, Any]):
        """Open or create the folder.

        Args:
            folder: Where the checkpoints are.
            fingerprint: Everything that the state depends on, JSON values.
        """
        self.folder = Path(folder).absolute()
        if is_writer():
            self._claim(fingerprint)
        wait_for_all("resume")
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder / "state", options=options)

    def _claim(self, fingerprint: dict[str, Any]) -> None:
        """Empty the folder if it is another configuration's."""
        mark = self.folder / "fingerprint.json"
        if not mark.is_file() or read_json(mark) != fingerprint:
            self._refuse_foreign()
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(mark, fingerprint)

    def _refuse_foreign(self) -> None:
        """Raise if the folder, about to be emptied, holds what no run of ours left there."""
        own = {"fingerprint.json", "state", "series"}
        foreign = sorted({path.name for path in self.folder.glob("*")} - own)
        if foreign:
            raise CheckpointError(
                f"{self.folder}: not a folder to resume from; it holds {', '.join(foreign[:3])}."
            )

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Tree) -> None:
        """Write a checkpoint; it counts only once it is complete."""
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, like: Tree) -> Tree:
        """Read the newest checkpoint, with the structure, shapes and dtypes of ``like``."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(self.latest, args=ocp.args.StandardRestore(abstract))

    def discard(self) -> None:
        """Remove the folder: the job is done."""
        self._manager.close()
        if not is_writer():
            return
        # First what makes it resumable: half a folder must not be resumed from.
        (self.folder / "fingerprint.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

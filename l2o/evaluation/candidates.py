"""What is evaluated: optimizers with a learning rate, grouped into families of one program each."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.agents.vectorize import on_tree
from l2o.errors import CheckpointError, L2OError, unknown_name
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.classical import bank, list_classical
from l2o.optimizers.registry import list_optimizers, make_optimizer
from l2o.optimizers.weights import load_weights
from l2o.seeding import key_for

Tree = Any


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An optimizer with everything fixed.

    Attributes:
        label: How results name it.
        optimizer: A classical optimizer's name, or a learned optimizer.
        learning_rate: Its learning rate.
        meta_params: Meta-parameters of a learned optimizer.
    """

    label: str
    optimizer: str | LearnedOptimizer
    learning_rate: float
    meta_params: Tree = None


def resolve(
    name: str, learning_rate: float | None, seed: int = 0, label: str | None = None
) -> Candidate:
    """Find an optimizer by name or path.

    Args:
        name: A classical optimizer, a learned one (taken at its untrained initialisation), or the
            path of a weight file.
        learning_rate: Its learning rate; ``None`` for the one stored in a weight file.
        seed: Of the untrained initialisation.
        label: How results name it; by default its name, or the stem of the path.

    Raises:
        L2OError: Nothing of that name, or no learning rate.
    """
    if name.endswith(".safetensors") or "/" in name or os.path.isfile(name):
        optimizer, meta_params, metadata = _load(Path(name))
        rate = metadata.get("learning_rate") if learning_rate is None else learning_rate
        if rate is None:
            raise L2OError(f"{name}: stores no learning rate; give --learning-rate.")
        return Candidate(label or Path(name).stem, optimizer, float(rate), meta_params)
    if name not in (known := [*list_classical(), *list_optimizers()]):
        raise unknown_name("optimizer", name, known)
    if learning_rate is None:
        raise L2OError(f"optimizer '{name}' needs a learning rate; give --learning-rate.")
    if name in list_classical():
        return Candidate(label or name, name, learning_rate)
    optimizer = make_optimizer(name)
    meta_params = optimizer.init_meta(key_for(seed, "init_meta"))
    return Candidate(label or f"{name}_untrained", optimizer, learning_rate, meta_params)


def _load(path: Path) -> tuple[LearnedOptimizer, Tree, dict[str, Any]]:
    """Read a weight file; say what to do if it is damaged and a stage can make it again."""
    try:
        return load_weights(path)
    except CheckpointError as error:
        job = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        if not path.is_file() or not (job / "run.json").is_file():
            raise
        raise CheckpointError(f"{error} Delete {job / 'run.json'} and it, and run again.") from None


def checkpoint_series(run_dir: str | Path) -> list[Path]:
    """Return the checkpoints of a meta-training run in order; the first one is untrained.

    Raises:
        CheckpointError: There are none.
    """
    found = sorted((Path(run_dir) / "checkpoints").glob("step_*.safetensors"))
    if not found:
        raise CheckpointError(f"{run_dir}: no checkpoints; run `l2o meta-train` or `l2o sweep`.")
    return found


@dataclasses.dataclass(frozen=True)
class Program:
    """What candidates must share to run side by side in one compiled program.

    Attributes:
        optimizer: A learned optimizer, or the names of classical ones.
    """

    optimizer: LearnedOptimizer | tuple[str, ...]

    @property
    def reads(self) -> frozenset[str]:
        """Extra arguments that an update has to provide; see :class:`LearnedOptimizer`."""
        return frozenset() if isinstance(self.optimizer, tuple) else self.optimizer.reads

    def transform(
        self, values: Tree, unravel: Callable[[jax.Array], Tree]
    ) -> optax.GradientTransformationExtraArgs:
        """Return one candidate's transformation of flat vectors ``[P]``.

        Args:
            values: The candidate's, see :class:`Family`.
            unravel: Function from a flat vector to the agent's parameters.
        """
        if isinstance(self.optimizer, tuple):
            return bank(self.optimizer, values["index"], values["learning_rate"])
        tx = self.optimizer.transform(values["meta_params"], values["learning_rate"])
        return tx if self.optimizer.coordinate_wise else on_tree(tx, unravel)


class Family(NamedTuple):
    """Candidates that one program runs side by side."""

    program: Program
    members: tuple[int, ...]  # positions of the candidates in the list they came from
    values: Tree  # what differs between them, leading axis len(members)


def families(candidates: Sequence[Candidate]) -> list[Family]:
    """Group candidates: all classical ones together, learned ones by what they share."""
    groups: dict[Any, list[int]] = {}
    for position, candidate in enumerate(candidates):
        classical = isinstance(candidate.optimizer, str)
        groups.setdefault("classical" if classical else candidate.optimizer, []).append(position)
    return [_family(optimizer, tuple(group), candidates) for optimizer, group in groups.items()]


def _family(optimizer: Any, members: tuple[int, ...], candidates: Sequence[Candidate]) -> Family:
    rates = jnp.array([candidates[i].learning_rate for i in members], jnp.float32)
    if optimizer == "classical":
        names = tuple(sorted({candidates[i].optimizer for i in members}))
        index = jnp.array([names.index(candidates[i].optimizer) for i in members], jnp.int32)
        return Family(Program(names), members, {"index": index, "learning_rate": rates})
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *(candidates[i].meta_params for i in members))
    return Family(Program(optimizer), members, {"meta_params": stacked, "learning_rate": rates})

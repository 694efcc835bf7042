"""The stage `meta-train`: run a recipe, keep the whole series of checkpoints, resume exactly."""

import functools
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from l2o import __version__, provenance
from l2o.agents.vectorize import RUN_ONCE
from l2o.checkpoint import ResumeState
from l2o.errors import L2OError
from l2o.files import write_table
from l2o.meta.build import build_trainer
from l2o.meta.outer import MetaState, MetaTrainer
from l2o.optimizers.weights import save_weights
from l2o.runs import Run, read_history
from l2o.seeding import key_for
from l2o.settings import Recipe
from l2o.stages import code_version

_LICENCE = "Apache-2.0"  # of this package, and of what its recipes make


def meta_train(recipe: Recipe, name: str, seed: int, out: Path, state: Path, scale: str) -> None:
    """Meta-train an optimizer.

    Writes ``checkpoints/step_<outer step>.safetensors`` (step 0 is the untrained initialisation),
    ``metrics.parquet`` and ``run.json`` in ``out``.

    Args:
        recipe: What to train and how.
        name: The recipe's name.
        seed: Root of every random key.
        out: Folder of the results.
        state: Folder to resume from after a kill; removed when done.
        scale: Name of the scale, for the record.

    Raises:
        L2OError: Too many non-finite meta-gradients in a row.
    """
    settings = recipe.model_dump()
    tags = {"recipe": name, "scale": scale, "task": ",".join(t.task for t in recipe.tasks)}
    with Run(out, stage="meta_train", config=settings, seed=seed, tags=tags) as run:
        trainer = build_trainer(recipe)
        resume = ResumeState(
            state, {"recipe": settings, "seed": seed, "code": code_version("meta_train")}
        )
        series = resume.folder / "series"
        meta_state = _start(trainer, recipe, name, seed, resume, run)
        _loop(trainer, recipe, name, seed, meta_state, resume, run)
        _publish(series, out)
        resume.discard()


def _start(
    trainer: MetaTrainer, recipe: Recipe, name: str, seed: int, resume: ResumeState, run: Run
) -> MetaState:
    """Return the state to continue from: the newest checkpoint, or a new population."""
    state = jax.jit(trainer.init, compiler_options=RUN_ONCE)(key_for(seed, "meta_train", "init"))
    if resume.latest is not None:
        state = resume.restore(state)
        run.resume(int(state.step))
        return state
    _save_weights(trainer, recipe, name, seed, state, resume)
    return state


def _loop(
    trainer: MetaTrainer,
    recipe: Recipe,
    name: str,
    seed: int,
    state: MetaState,
    resume: ResumeState,
    run: Run,
) -> None:
    """Train, one host round trip per logging interval."""
    advance = jax.jit(functools.partial(trainer.run, steps=recipe.log_interval))
    key = key_for(seed, "meta_train")
    first = f"{recipe.tasks[0].task}/return"
    progress = run.progress(recipe.outer_steps, start=int(state.step))
    while int(state.step) < recipe.outer_steps:
        state, metrics = advance(state, key)
        step = int(state.step)
        means = {name: float(np.mean(value)) for name, value in metrics.items()}
        run.log(step, means)
        progress.update(step, score=means[first], label="return")
        if int(state.skipped_in_a_row) >= recipe.max_skipped:
            raise L2OError(
                f"{int(state.skipped_in_a_row)} non-finite meta-gradients in a row at outer step "
                f"{step}; the last good checkpoint is that of step {resume.latest or 0} in "
                f"{resume.folder / 'series'}. Try a smaller meta_learning_rate or learning_rate."
            )
        if step % recipe.checkpoint_interval == 0:
            _save_weights(trainer, recipe, name, seed, state, resume)
            resume.save(step, state)
    progress.close()
    run.summary(
        {
            "outer_steps": int(state.step),
            "skipped_steps": int(state.skipped),
            "agent_parameters": int(state.populations[0].params.shape[1]),
            "final_return": list(read_history(run.out_dir))[-1]["metrics"][first],
        }
    )


def _save_weights(
    trainer: MetaTrainer,
    recipe: Recipe,
    name: str,
    seed: int,
    state: MetaState,
    resume: ResumeState,
) -> None:
    """Add the meta-parameters to the series of checkpoints."""
    step = int(state.step)
    metadata = {
        "recipe": name,
        "seed": seed,
        "outer_step": step,
        "learning_rate": recipe.tasks[0].learning_rate,
        "tasks": [task.task for task in recipe.tasks],
        "licence": _LICENCE,
        "code_version": _code_version(),
    }
    path = resume.folder / "series" / f"step_{step:06d}.safetensors"
    save_weights(path, trainer.optimizer, state.meta_params, metadata)


@functools.cache
def _code_version() -> dict[str, Any]:
    """Return what made the weights, for their metadata; read once, as git takes a while."""
    return {"l2o-rl": __version__, "git_commit": provenance.code()["git_commit"]}


def _publish(series: Path, out: Path) -> None:
    """Move the series into the results, and write the history as a table."""
    import pandas as pd

    target = out / "checkpoints"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(series, target)
    rows: list[dict[str, Any]] = [
        {"step": line["step"], **line["metrics"]} for line in read_history(out)
    ]
    write_table(out / "metrics.parquet", pd.DataFrame(rows).astype(float))

"""Meta-training: run recipes, keep every series of checkpoints, resume exactly."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o import __version__
from l2o.agents.vectorize import RUN_ONCE, count_parameters
from l2o.errors import L2OError
from l2o.files import copy_folder, write_table
from l2o.jobs import provenance
from l2o.jobs.failures import advising
from l2o.jobs.history import read_history
from l2o.jobs.interrupts import Interrupted, postponed
from l2o.jobs.processes import anywhere, copy_everywhere, everywhere, is_writer
from l2o.jobs.record import Run
from l2o.jobs.resume import ResumeState
from l2o.meta.build import build_trainer, held_out, starting_point
from l2o.meta.devices import over_devices
from l2o.meta.memory import less_memory
from l2o.meta.outer import MetaState, MetaTrainer
from l2o.optimizers.weights import save_weights
from l2o.seeding import key_for

if TYPE_CHECKING:
    from l2o.config.recipe import Recipe
    from l2o.meta.held_out import HeldOut

Tree = Any
_LICENCE = "Apache-2.0"  # of this package, and of what its recipes make


class Member(NamedTuple):
    """One meta-training run: a recipe, a seed, and where its results go."""

    recipe: Recipe
    name: str
    seed: int
    out: Path


def meta_train(
    members: Sequence[Member], state: Path, tags: dict[str, str], code: str, devices: int = 1
) -> None:
    """Meta-train one optimizer, or several side by side in one program.

    Writes ``checkpoints/step_<outer step>.safetensors`` (step 0 is the untrained initialisation),
    ``metrics.parquet`` and ``run.json`` for each member. Of several processes the first one writes.

    Args:
        members: What to train; they differ only in what is data to the compiled program, see
            :func:`l2o.meta.build.program_of`.
        state: Folder to resume from after a kill; removed when done.
        tags: For the records: scale, sweep.
        code: Version of the code; what another one left is not resumed from.
        devices: Devices that share the members, or the population of a single one.

    Raises:
        L2OError: Too many non-finite meta-gradients in a row, in a single run; another process is
            at work in ``state``; or the population does not fit memory.
    """
    alone = len(members) == 1
    with contextlib.ExitStack() as stack:
        if not is_writer():
            elsewhere = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            members = [m._replace(out=elsewhere / str(i)) for i, m in enumerate(members)]
        # First of all: it fails if another process is at work on the same records.
        resume = ResumeState(
            state,
            {
                "members": [[m.recipe.model_dump(), m.seed] for m in members],
                "code": code,
            },
        )
        runs = [stack.enter_context(_run(member, tags)) for member in members]
        prefix = f"recipes.{members[0].name}." if tags.get("scale") != "custom" else ""
        stack.enter_context(advising(*less_memory(members[0].recipe, prefix)))
        trainer = build_trainer(members[0].recipe, devices if alone else 1)
        last = _loop(trainer, members, runs, resume, devices, held_out(members[0].recipe, trainer))
        for i, (member, run) in enumerate(zip(members, runs, strict=True)):
            _summarize(run, member, trainer, _member(last, i))
            if is_writer():
                _publish(_series(resume, i), member.out)
        resume.discard()


def _run(member: Member, tags: dict[str, str]) -> Run:
    tasks = ",".join(task.label for task in member.recipe.tasks)
    return Run(
        member.out,
        stage="meta_train",
        config=member.recipe.model_dump(),
        seed=member.seed,
        tags={"recipe": member.name, "task": tasks} | tags,
    )


def _start(
    trainer: MetaTrainer, members: Sequence[Member], runs: Sequence[Run], resume: ResumeState
) -> MetaState:
    """Return the states to continue from, stacked: the newest checkpoint, or new populations."""
    init = jax.jit(trainer.init, compiler_options=RUN_ONCE)
    fresh = []
    for member in members:
        start = starting_point(member.recipe)
        key = key_for(member.seed, "meta_train", "init")
        fresh.append(init(key, start.settings(), trainer.phase(start)))
    state = copy_everywhere(jax.tree.map(lambda *leaves: jnp.stack(leaves), *fresh))
    if resume.latest is None:
        _save_weights(trainer, members, state, resume)
        return state
    state = resume.restore(state)
    for run in runs:
        run.resume(resume.latest)
    return state


def _loop(
    trainer: MetaTrainer,
    members: Sequence[Member],
    runs: Sequence[Run],
    resume: ResumeState,
    devices: int,
    shown: HeldOut | None = None,
) -> MetaState:
    """Train, one host round trip per logging interval."""
    recipe = members[0].recipe
    state = _start(trainer, members, runs, resume)
    if shown and resume.latest is None:
        for run, values in zip(runs, _held_out(shown, members, state), strict=True):
            run.log(0, values)
    advance = outer_loop(trainer, recipe.log_interval, len(members), devices)
    keys = copy_everywhere(jnp.stack([key_for(member.seed, "meta_train") for member in members]))
    step = int(state.step[0])
    progress = runs[0].progress(recipe.outer_steps, start=step)
    with postponed() as stop:
        while step < recipe.outer_steps:
            state, metrics = advance(state, keys)
            step = int(state.step[0])
            due = step % recipe.checkpoint_interval == 0
            more = _held_out(shown, members, state) if shown and due else [{}] * len(members)
            score = _log(runs, step, metrics, f"{recipe.tasks[0].label}/return", more)
            progress.update(step, score=score, label="return")
            if len(members) == 1:
                _stop_if_hopeless(recipe, state, resume)
            told = anywhere(stop.requested) and step < recipe.outer_steps
            if due:
                _save_weights(trainer, members, state, resume)
            if told or (due and anywhere(resume.is_affordable)):
                resume.save(step, state)
            if told:
                raise Interrupted(f"stopped at outer step {step}, saved; run it again to go on.")
    progress.close()
    return state


def _held_out(
    shown: HeldOut, members: Sequence[Member], state: MetaState
) -> list[dict[str, float]]:
    """Return how well every member's optimizer does on the held-out tasks."""
    parts = (_member((state.meta_params, state.settings), i) for i in range(len(members)))
    return [shown.measure(*part, member.seed) for part, member in zip(parts, members, strict=True)]


def _log(
    runs: Sequence[Run],
    step: int,
    metrics: dict[str, jax.Array],
    first: str,
    more: Sequence[dict[str, float]],
) -> float:
    """Add to every member's history; return the mean over members of one metric."""
    means = _means(metrics)
    for run, values, others in zip(runs, means, more, strict=True):
        run.log(step, values | others)
    return float(np.mean([values[first] for values in means]))


def outer_loop(trainer: MetaTrainer, steps: int, members: int, devices: int) -> Callable:
    """Compile the outer loop of stacked states: in turn on a CPU, else vectorised.

    It overwrites the states that it gets: those of a large population would not fit twice.
    """
    run = functools.partial(trainer.run, steps=steps)
    if members == 1:
        # Without a loop over members: it would hide the population from the compiler's devices.
        def alone(state: MetaState, keys: jax.Array) -> tuple:
            out = run(_member(state, 0), keys[0])
            return jax.tree.map(lambda leaf: leaf[None], out)

        # Every process logs and saves: between two calls all of them have the whole state.
        return jax.jit(alone, out_shardings=everywhere(), donate_argnums=0)
    if jax.default_backend() == "cpu":

        def together(state: MetaState, keys: jax.Array) -> tuple:
            return jax.lax.map(lambda packed: run(*packed), (state, keys))
    else:
        together = jax.vmap(run)
    shared = over_devices(
        lambda _, *args: together(*args), math.gcd(members, devices), axis="members"
    )
    return jax.jit(functools.partial(shared, ()), donate_argnums=0)


def _stop_if_hopeless(recipe: Recipe, state: MetaState, resume: ResumeState) -> None:
    in_a_row = int(state.skipped_in_a_row[0])
    if in_a_row >= recipe.max_skipped:
        raise L2OError(
            f"{in_a_row} non-finite meta-gradients in a row at outer step {int(state.step[0])}; "
            f"the last good checkpoint is that of step {resume.latest or 0} in "
            f"{_series(resume, 0)}. Try a smaller meta_learning_rate or learning_rate."
        )


def _member(state: Tree, index: int) -> Tree:
    """Return one member's part of stacked states."""
    return jax.tree.map(lambda leaf: leaf[index], state)


def _means(metrics: dict[str, jax.Array]) -> list[dict[str, float]]:
    """Return each member's means over steps, of the steps where there is something to average.

    Args:
        metrics: Arrays ``[members, steps]``.
    """
    host = {name: np.asarray(value) for name, value in metrics.items()}

    def mean(row: np.ndarray) -> float:
        known = row[~np.isnan(row)]
        return float(known.mean()) if known.size else math.nan

    members = len(next(iter(host.values())))
    return [{name: mean(value[i]) for name, value in host.items()} for i in range(members)]


def _summarize(run: Run, member: Member, trainer: MetaTrainer, state: MetaState) -> None:
    first = f"{member.recipe.tasks[0].label}/return"
    run.summary(
        {
            "outer_steps": int(state.step),
            "skipped_steps": int(state.skipped),
            "agent_parameters": count_parameters(trainer.loops[0].task.agent.shapes),
            "final_return": list(read_history(run.out_dir))[-1]["metrics"][first],
        }
    )


def _series(resume: ResumeState, index: int) -> Path:
    """Return where a member's checkpoints are until all is done."""
    return resume.folder / "series" / str(index)


def _save_weights(
    trainer: MetaTrainer, members: Sequence[Member], state: MetaState, resume: ResumeState
) -> None:
    """Add the meta-parameters to every member's series of checkpoints."""
    if not is_writer():
        return
    step = int(state.step[0])
    for i, member in enumerate(members):
        recipe = member.recipe
        metadata = {
            "recipe": member.name,
            "seed": member.seed,
            "outer_step": step,
            "learning_rate": recipe.tasks[0].learning_rate * recipe.learning_rate_scale,
            "tasks": [task.label for task in recipe.tasks],
            "licence": _LICENCE,
            "code_version": _code_version(),
        }
        path = _series(resume, i) / f"step_{step:06d}.safetensors"
        save_weights(path, trainer.optimizer, _member(state.meta_params, i), metadata)


@functools.cache
def _code_version() -> dict[str, Any]:
    """Return what made the weights, for their metadata; read once, as git takes a while."""
    return {"l2o-rl": __version__, "git_commit": provenance.code()["git_commit"]}


def _publish(series: Path, out: Path) -> None:
    """Copy the series into the results, and write the history as a table."""
    import pandas as pd

    copy_folder(series, out / "checkpoints")
    rows: list[dict[str, Any]] = [
        {"step": line["step"], **line["metrics"]} for line in read_history(out)
    ]
    write_table(out / "metrics.parquet", pd.DataFrame(rows).astype(float))

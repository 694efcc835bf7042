"""Agents trained with Adam, and statistics of their gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from l2o.agents.a2c import A2C
from l2o.analysis.noise import FrozenProgram, Moments, cosine, measure
from l2o.analysis.recorder import (
    LAGS,
    LOWEST,
    Recorder,
    RecordingProgram,
    Statistics,
    tensor_index,
    tensor_names,
)
from l2o.config.parts import ToyTraining
from l2o.evaluation.candidates import Candidate, families
from l2o.evaluation.toy import ToyLifetime
from l2o.evaluation.toy_tasks import toy_lifetime
from l2o.files import write_arrays, write_table
from l2o.optimizers.weights import digest_of
from l2o.seeding import key_for
from l2o.statistics.columns.gradients import BIN_WIDTH, PHASES, TENSOR_COLUMNS, TIME_COLUMNS

if TYPE_CHECKING:
    from l2o.config.parts import Recording
    from l2o.jobs.record import Run

Tree = Any


class _Source(NamedTuple):
    """Agents to record, and how."""

    lifetime: Any
    updates: int
    examples: int  # in one gradient
    frozen: Any  # lifetime of agents whose parameters stay


def record(settings: Recording, out: Path, run: Run) -> None:
    """Record the gradients of one source.

    Writes ``histograms``, ``tensors``, ``time`` and ``noise`` as parquet and
    ``samples.safetensors`` (``samples [agents, phases, window, coordinates]``) in ``out``.

    Args:
        settings: Which agents.
        out: Folder of the results.
        run: The record of the job.

    Raises:
        L2OError: Unknown task.
    """
    source = _source(settings)
    recorder = Recorder(len(PHASES), settings.window, settings.coordinates)
    (family,) = families([Candidate("adam", "adam", settings.learning_rate)])
    program = RecordingProgram(family.program.optimizer, recorder)
    seeds = range(settings.seeds)
    values = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(seeds), axis=0), family.values)
    keys = jnp.stack([key_for(seed, "record", settings.source) for seed in seeds])
    half = source.updates // 2
    state = source.lifetime.init(program, values, keys, 2 * half)
    noise, returns = [], {}
    for moment in PHASES:
        if moment != PHASES[0]:
            with run.phase("train"):
                state, measured = source.lifetime.advance(program, values, state, half)
                returns[f"return/{moment}"] = float(jnp.nanmean(measured["return"]))
        with run.phase("noise"):
            noise.append(_noise(source, values, state, settings.noise_gradients, moment))
    seen = jax.device_get(state.opt_state.seen)
    parameters = seen.recent.shape[-1]
    names = tensor_names(source.lifetime.agent.unravel, parameters)
    _, sizes = tensor_index(source.lifetime.agent.unravel, parameters)
    for file, table in (
        ("histograms", _histograms(seen, names)),
        ("tensors", _tensors(seen, names, sizes)),
        ("time", _time(seen)),
        ("noise", pd.concat(noise, ignore_index=True)),
    ):
        write_table(out / f"{file}.parquet", table.assign(source=settings.source))
    samples = {"samples": seen.samples}
    write_arrays(out / "samples.safetensors", samples, {"digest": digest_of({}, samples)})
    run.summary(returns | {"parameters": int(parameters)})


def _source(settings: Recording) -> _Source:
    task, training = settings.task, settings.training
    if isinstance(training, ToyTraining):
        lifetime, budget = toy_lifetime(task, training)
        return _Source(lifetime, budget.updates, lifetime.steps_per_update, lifetime)
    from l2o.evaluation.ppo_tasks import ppo_lifetime  # imports Brax, slowly

    lifetime, budget = ppo_lifetime(task, training, settings.seeds)
    ppo = lifetime.agent.settings
    # Repeated passes over the same data would count as gradients of their own.
    once = dataclasses.replace(ppo, epochs=1)
    frozen = dataclasses.replace(lifetime, agent=dataclasses.replace(lifetime.agent, settings=once))
    return _Source(lifetime, budget.updates, ppo.batch_size * ppo.unroll_length, frozen)


def _noise(source: _Source, values: Tree, state: Tree, gradients: int, moment: str) -> pd.DataFrame:
    """Measure signal and noise with parameters as they are now; see ``NOISE_COLUMNS``."""
    agent = source.lifetime.agent
    moments = _moments(source.frozen, values, state, gradients)
    other = None
    if isinstance(agent, A2C):
        usual, long = (
            dataclasses.replace(source.frozen, agent=_actor_only(agent, **changes))
            for changes in ({}, {"rollout_steps": 10 * _steps(agent), "gae_lambda": 1.0})
        )
        other = [
            _moments(usual, values, state, gradients),
            _moments(long, values, state, max(gradients // 4, 2)),
        ]
    names = tensor_names(agent.unravel, state.params.shape[-1])
    index, _ = tensor_index(agent.unravel, state.params.shape[-1])
    rows = []
    for i in range(len(state.update)):
        own = _of(moments, i)
        bias = cosine(*(_of(m, i) for m in other)) if other else float("nan")
        parts = [("all", slice(None)), *((n, index == k) for k, n in enumerate(names))]
        for tensor, part in parts:
            found = measure(own, part)
            rows.append(
                {
                    "agent": i,
                    "moment": moment,
                    "tensor": tensor,
                    "examples": source.examples,
                    "gradients": int(own.steps),
                    **found._asdict(),
                    "bias_cosine": bias if tensor == "all" else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def _steps(agent: A2C) -> int:
    return agent.hyperparameters.rollout_steps


def _actor_only(agent: A2C, **changes: Any) -> A2C:
    """Return an agent whose loss is the actor's term alone."""
    hyper = dataclasses.replace(
        agent.hyperparameters, critic_weight=0.0, entropy_weight=0.0, **changes
    )
    return dataclasses.replace(agent, hyperparameters=hyper)


def _moments(lifetime: Any, values: Tree, state: Tree, gradients: int) -> Moments:
    """Return the moments of at least so many gradients of every agent, leaves ``[L, ...]``."""
    program = FrozenProgram()
    tx = program.transform(None, lifetime.agent.unravel)
    frozen = state._replace(opt_state=jax.vmap(tx.init)(state.params))
    if isinstance(lifetime, ToyLifetime):
        state, _ = lifetime.advance(program, values, frozen, gradients)
    else:
        updates = -(-gradients // lifetime.agent.settings.minibatches)
        state = lifetime.train(program, values, frozen, updates)
    return jax.device_get(state.opt_state)


def _of(tree: Tree, index: int) -> Tree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _histograms(seen: Statistics, names: list[str]) -> pd.DataFrame:
    counts = np.asarray(seen.histogram)
    place = np.nonzero(counts)
    agent, phase, tensor, sign, bins = place
    return pd.DataFrame(
        {
            "agent": agent,
            "phase": np.array(PHASES)[phase],
            "tensor": np.array(names)[tensor],
            "sign": 2 * sign - 1,
            "exponent": np.round(LOWEST + BIN_WIDTH * bins, 6),
            "count": counts[place],
        }
    )


def _tensors(seen: Statistics, names: list[str], sizes: list[int]) -> pd.DataFrame:
    rows = [
        (a, phase, name, int(seen.steps[a, p]) * sizes[t], seen.zeros[a, p, t], seen.lost[a, p, t])
        for a in range(len(seen.steps))
        for p, phase in enumerate(PHASES)
        for t, name in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=list(TENSOR_COLUMNS)[1:])


def _time(seen: Statistics) -> pd.DataFrame:
    rows = []
    for a in range(len(seen.steps)):
        for p, phase in enumerate(PHASES):
            number = np.where(seen.pairs[a, p] > 0, seen.pairs[a, p], np.nan)
            means = seen.cosine[a, p] / number, seen.correlation[a, p] / number
            rows += [(a, phase, *values) for values in zip(LAGS, *means, strict=True)]
    return pd.DataFrame(rows, columns=list(TIME_COLUMNS)[1:])

"""Tuning, controls, resuming and costs of the transfer evaluation."""

import dataclasses
import os
import shutil
import signal
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest

from l2o.config import files as config
from l2o.config.budgets import ToyBudget
from l2o.config.parts import ToyTraining, contenders
from l2o.errors import CheckpointError, ResultsError
from l2o.evaluation import resume as resume_module
from l2o.evaluation.candidates import Candidate, resolve
from l2o.evaluation.contenders import find_contenders, untuned, with_rates
from l2o.evaluation.evaluate import Budget, evaluate
from l2o.evaluation.memory import free_bytes, lanes_that_fit
from l2o.evaluation.resume import Resume
from l2o.evaluation.toy_tasks import toy_lifetime
from l2o.evaluation.tuning import rates_over_tasks
from l2o.files import sha256, write_json
from l2o.jobs.interrupts import Interrupted
from l2o.optimizers.registry import make_optimizer
from l2o.optimizers.weights import save_weights

CANDIDATES = [
    Candidate("adam", "adam", 0.01),
    Candidate("sign", "sign", 0.003),
    resolve("linear", 0.01),
]


@pytest.fixture(scope="module")
def lifetime():
    """A lifetime of a few updates, and its budget: two batches of classical agents, one learned."""
    training = ToyTraining(ToyBudget(environments=2, updates=8, points=4, torso="D32"))
    lifetime, budget = toy_lifetime("catch", training)
    return lifetime, dataclasses.replace(budget, lanes=2)


class Stopped(BaseException):
    """Stands for whatever ends a process."""


def run(lifetime, folder=None, stop_after=None, fingerprint=0):
    """Evaluate; stop after so many points. Returns the curves and the points computed."""
    agents, budget = lifetime
    done = []

    def count(point, total, score):
        done.append(point)
        if stop_after is not None and len(done) == stop_after:
            raise Stopped

    state = None if folder is None else Resume(folder, fingerprint)
    try:
        curves = evaluate("catch", agents, CANDIDATES, [0, 1], budget, count, state)
    except Stopped:
        return None, done
    if state:
        state.discard()
    return curves, done


@pytest.mark.parametrize("stop_after", [1, 4, 6, 11])
def test_a_stopped_evaluation_continues_to_the_same_numbers(
    lifetime, tmp_path, monkeypatch, stop_after
):
    monkeypatch.setattr(resume_module, "SAVE_INTERVAL_S", 0.0)
    whole, points = run(lifetime)
    assert points == list(range(1, 13))
    assert run(lifetime, tmp_path / "state", stop_after)[0] is None
    curves, rest = run(lifetime, tmp_path / "state")
    assert rest == list(range(stop_after + 1, 13))
    pd.testing.assert_frame_equal(curves, whole, check_exact=True)
    assert not (tmp_path / "state").exists()


def test_an_evaluation_that_is_told_to_stop_saves_first(lifetime, tmp_path):
    agents, budget = lifetime
    whole, _ = run(lifetime)

    def tell(point, total, score):
        if point == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    state = Resume(tmp_path / "state", 0)
    with pytest.raises(Interrupted, match="stopped on catch, saved"):
        evaluate("catch", agents, CANDIDATES, [0, 1], budget, tell, state)
    curves, rest = run(lifetime, tmp_path / "state")
    assert rest == list(range(8, 13))
    pd.testing.assert_frame_equal(curves, whole, check_exact=True)


class Measuring:
    """Agents that do nothing, and tell their memory; counts the points that it was asked for."""

    steps_per_update = environments = 1

    def __init__(self):
        self.points = 0

    def init(self, program, values, keys, updates):
        return np.zeros(len(keys))

    def advance(self, program, values, state, updates, pause):
        self.points += 1
        return state, {"return": state, "episodes": 1, "peak_bytes": 1000 + self.points}


def test_what_points_took_before_a_stop_is_kept(tmp_path):
    def timed(lifetime, stop_after=None):
        def stop(point, total, score):
            if point == stop_after:
                raise Stopped

        timings, state = [], Resume(tmp_path / "state", 0)
        evaluate("catch", lifetime, CANDIDATES, [0], Budget(4, 2, 2), stop, state, timings)
        return timings

    first, second = Measuring(), Measuring()
    with pytest.raises(Stopped):
        timed(first, stop_after=3)
    timings = timed(second)
    # The third point was not saved: it was not the last of its batch.
    assert (first.points, second.points) == (3, 2)
    assert [timing.peak_bytes for timing in timings] == [1001, 1002, 1001, 1002]
    assert all(timing.seconds >= 0 for timing in timings)
    assert [timing.lanes for timing in timings] == [2, 2, 1, 1]


class Slow(Measuring):
    """Agents that stop between any two updates if they are asked to, and remember every one."""

    class State(NamedTuple):
        update: np.ndarray
        seen: np.ndarray

    def init(self, program, values, keys, updates):
        return self.State(np.zeros(len(keys), np.int32), np.zeros((len(keys), updates)))

    def advance(self, program, values, state, updates, pause):
        for left in range(updates)[::-1]:
            self.points += 1
            seen = state.seen.copy()
            seen[:, state.update[0]] += 1
            state = self.State(state.update + 1, seen)
            if pause() and left:
                return state, None
        return state, {"return": state.seen.sum(axis=1), "episodes": 1}


def test_a_point_can_be_interrupted(tmp_path):
    """As it must be where it takes longer than a cluster waits between SIGTERM and SIGKILL."""

    def learn(lifetime):
        timings = []
        state, budget = Resume(tmp_path / "state", 0), Budget(10, 2, 2)
        curves = evaluate("catch", lifetime, CANDIDATES[:2], [0], budget, None, state, timings)
        return curves, timings

    class Told(Slow):
        def advance(self, program, values, state, updates, pause):
            def pause_too():
                if self.points == 7:
                    os.kill(os.getpid(), signal.SIGTERM)
                return pause()

            return super().advance(program, values, state, updates, pause_too)

    first, second = Told(), Slow()
    with pytest.raises(Interrupted):
        learn(first)
    curves, timings = learn(second)
    assert (first.points, second.points) == (7, 3)
    assert curves["return"].tolist() == [5, 10, 5, 10]
    assert len(timings) == 2 and all(timing.seconds > 0 for timing in timings)


def test_other_settings_start_again(lifetime, tmp_path, monkeypatch):
    monkeypatch.setattr(resume_module, "SAVE_INTERVAL_S", 0.0)
    run(lifetime, tmp_path / "state", stop_after=6)
    assert len(run(lifetime, tmp_path / "state", fingerprint=1)[1]) == 12


def test_without_time_to_save_whole_batches_are_kept(lifetime, tmp_path):
    run(lifetime, tmp_path / "state", stop_after=6)
    assert run(lifetime, tmp_path / "state")[1] == list(range(5, 13))


def test_free_memory_is_that_of_a_machine():
    assert 2**27 < free_bytes() < 2**50


def finals(rows):
    columns = ["task", "optimizer", "learning_rate", "final"]
    return pd.DataFrame(rows, columns=columns).assign(seed=0)


def test_rates_count_every_task_alike():
    # On "big", returns are a hundred times those of "small"; 0.1 wins one, 0.01 the other by more.
    table = finals(
        [
            ("big", "adam", 0.01, 800.0),
            ("big", "adam", 0.1, 1000.0),
            ("small", "adam", 0.01, 10.0),
            ("small", "adam", 0.1, 5.0),
        ]
    )
    assert rates_over_tasks(table, {"big": 0.0, "small": 0.0}) == {"adam": 0.01}
    assert rates_over_tasks(table, {"big": 780.0, "small": 0.0}) == {"adam": 0.1}


def test_a_rate_that_diverged_anywhere_is_out():
    rows = [("one", "adam", 0.01, 1.0), ("one", "adam", 0.1, 9.0)]
    rows += [("two", "adam", 0.01, 1.0), ("two", "adam", 0.1, np.nan)]
    assert rates_over_tasks(finals(rows), {"one": 0.0, "two": 0.0}) == {"adam": 0.01}
    lost = [("one", "adam", 0.01, np.nan)]
    with pytest.raises(ResultsError, match="every learning rate diverged for adam"):
        rates_over_tasks(finals(lost), {"one": 0.0})


@pytest.mark.parametrize(
    ("free", "lanes"), [(1000, 10), (143, 10), (142, 5), (60, 4), (15, 1), (1, 1)]
)
def test_agents_are_split_evenly_where_memory_is_short(free, lanes, capsys):
    assert lanes_that_fit(10, 10, free) == lanes
    said = capsys.readouterr().err
    assert ("do not fit" in said) == (lanes < 10)
    assert f"{lanes} at a time" in said or lanes == 10


@pytest.fixture
def sources(tmp_path):
    """A selection and a meta-training run of `linear`, and the configuration that names them."""
    settings = config.read_yaml("config/config.yaml") | {"scale": "smoke"}
    resolved = config.build(config.merge(settings, {"transfer": {"recipes": ["linear"]}}))
    linear = make_optimizer("linear")
    series = tmp_path / "runs/linear/seed_0/checkpoints"
    for step in (0, 8):
        meta_params = linear.init_meta(jax.random.key(step))
        path = series / f"step_{step:06d}.safetensors"
        save_weights(path, linear, meta_params, {"learning_rate": 0.5})
    selected = make_optimizer(resolved.recipes[resolved.select.recipe].optimizer["name"])
    selection = tmp_path / "select"
    for name in ("champion", "untrained"):
        meta_params = selected.init_meta(jax.random.key(0))
        path = selection / f"{name}.safetensors"
        save_weights(path, selected, meta_params, {"learning_rate": 0.02})
    champion = {"sha256": sha256(selection / "champion.safetensors")}
    write_json(selection / "champion.json", champion)
    return contenders(resolved), selection, tmp_path / "runs"


def test_contenders(sources):
    found = find_contenders(*sources)
    labels = ["champion", "untrained", "linear", *sources[0].classical]
    assert [candidate.label for candidate in found] == labels
    # The last checkpoint, at the rate of its meta-training.
    expected = make_optimizer("linear").init_meta(jax.random.key(8))
    jax.tree.map(np.testing.assert_array_equal, found[2].meta_params, expected)
    assert [(c.label, c.learning_rate) for c in untuned(found)] == [
        ("champion", 0.02),
        ("linear", 0.5),
    ]
    rates = dict.fromkeys(labels, 0.003)
    assert {c.learning_rate for c in with_rates(found, rates)} == {0.003}
    with pytest.raises(CheckpointError, match="no learning rate was tuned for linear, sign: run"):
        with_rates(found, {k: v for k, v in rates.items() if k not in ("linear", "sign")})


def test_a_champion_that_was_replaced_is_refused(sources):
    _, selection, runs = sources
    shutil.copy(runs / "linear/seed_0/checkpoints/step_000008.safetensors", selection / "x")
    (selection / "x").rename(selection / "champion.safetensors")
    with pytest.raises(CheckpointError, match="not the file that was selected"):
        find_contenders(*sources)


def test_a_checkpoint_of_another_optimizer_is_refused(sources):
    _, selection, runs = sources
    shutil.copy(
        selection / "untrained.safetensors",
        runs / "linear/seed_0/checkpoints/step_000008.safetensors",
    )
    with pytest.raises(CheckpointError, match="a checkpoint of 'optim4rl_m', but recipe 'linear'"):
        find_contenders(*sources)

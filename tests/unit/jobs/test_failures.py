"""What the machine lacks is said in one line: space, permission, memory."""

import argparse
import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from killing import RECIPE
from places import ROOT

from l2o.cli import main
from l2o.config.budgets import ToyBudget
from l2o.config.parsing import parse
from l2o.config.parts import ToyTraining
from l2o.config.recipe import Recipe
from l2o.errors import ConfigError, OutOfMemoryError
from l2o.evaluation.evaluate import Budget
from l2o.evaluation.memory import LANES_VARIABLE, lanes_that_fit, less_memory
from l2o.evaluation.toy_tasks import toy_lifetime
from l2o.jobs.failures import advising, explain, is_out_of_memory
from l2o.meta.memory import less_memory as smaller_recipe

CONFIG = ROOT / "config" / "config.yaml"
ARGS = argparse.Namespace(out="results/x", state=None)

# Space and permission


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (errno.ENOSPC, "the disk is full; make space and run again"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_storage_is_named(code, problem):
    words = os.strerror(code)
    named = OSError(code, words, "results/x/curves.parquet")
    assert explain(named, ARGS).startswith(f"results/x/curves.parquet: {problem}")
    assert problem in explain(OSError(code, "said in other words", "results/x"), ARGS)
    assert explain(OSError(code, words), ARGS).startswith(f"below results/x: {problem}")
    # Libraries that write in their own ways say it in theirs.
    for error in (ValueError(f"RESOURCE_EXHAUSTED: Error writing: {words}"), RuntimeError(words)):
        assert problem in explain(error, ARGS)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        ValueError("7"),
        KeyError("No space left on device"),
    ],
)
def test_other_errors_keep_their_traceback(error):
    assert explain(error, ARGS) is None


def test_a_file_where_a_folder_should_be(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    for where in ("file/out", "file/deep/out"):
        words = ["--config", str(CONFIG), "--scale", "smoke", "--out", str(tmp_path / where)]
        assert main(["config", *words]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"l2o config: {file}") and "file" in line and line.count("\n") == 1


# Memory: every allocation is real, and more than any machine has


def asked_of_python():
    np.zeros(1 << 50)


def asked_of_xla():
    jnp.zeros(1 << 42).block_until_ready()


@pytest.mark.parametrize(
    ("ask", "size"), [(asked_of_python, "8.39e+06"), (asked_of_xla, "1.64e+04")]
)
def test_memory_that_is_not_there(ask, size):
    with pytest.raises(Exception) as caught:
        ask()
    assert is_out_of_memory(caught.value)
    with pytest.raises(OutOfMemoryError) as advised, advising("try agents 2 instead of 4"):
        ask()
    said = f"out of memory ({size} GiB asked for at once)"
    assert str(advised.value) == f"{said}: try agents 2 instead of 4."
    assert explain(caught.value, ARGS).startswith(said)


@pytest.mark.parametrize("error", [RuntimeError("INTERNAL: x"), ValueError("Out of memory")])
def test_not_out_of_memory(error):
    with pytest.raises(type(error)), advising("less"):
        raise error


def test_a_stage_ends_in_one_line(tmp_path, capsys):
    words = ["--task", "small_dense_short", "--optimizer", "sign", "--learning-rate", "0.1"]
    words += ["--seeds", "2", "--environments", str(10**9), "--updates", "1", "--points", "1"]
    assert main(["evaluate", *words, "--out", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("l2o evaluate: out of memory (") and line.count("\n") == 1
    assert line.endswith("try L2O_LANES=1 in the environment: so many agents at a time.\n")


# What to lower


def recipe(**changes):
    return parse(Recipe, RECIPE | changes)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (
            {"unroll": 9},
            ["segment 3 instead of None", "agents 2 instead of 4"],
        ),
        ({"unroll": 6, "segment": 2, "agents": 1}, ["segment 1 instead", "environments 1 instead"]),
        ({"unroll": 1}, ["agents 2 instead of 4"]),
        ({"unroll": 1, "agents": 1, "environments": 1}, []),
        ({"estimator": "pes", "objective": "return", "agents": 10}, ["agents 4 instead of 10"]),
    ],
)
def test_advice_is_a_recipe_that_is_smaller(changes, advice):
    found = smaller_recipe(recipe(**changes), "recipes.x.")
    assert len(found) == len(advice)
    for text, wanted in zip(found, advice, strict=True):
        assert text.startswith(f"try recipes.x.{wanted}")
        key, value = text.removeprefix("try recipes.x.").split()[:2]
        recipe(**changes | {key: int(value)})  # valid


def test_agents_side_by_side_are_bounded(monkeypatch, capsys):
    budget = ToyBudget(environments=8, updates=2)
    lifetime, _ = toy_lifetime("catch", ToyTraining(budget))
    assert "L2O_LANES=4" in less_memory("catch", lifetime, 8)[0]
    wanted = ["try toy_tasks.catch.environments 4 instead of 8"]
    assert less_memory("catch", lifetime, 1) == wanted
    monkeypatch.setenv(LANES_VARIABLE, "3")
    assert Budget(2).lanes == 3 and lanes_that_fit(10, 1, 100) == 3
    assert not capsys.readouterr().err  # memory is not what bounds them
    for wrong in ("0", "-1", "many"):
        monkeypatch.setenv(LANES_VARIABLE, wrong)
        with pytest.raises(ConfigError, match=LANES_VARIABLE):
            Budget(2)
    assert jax.default_backend()

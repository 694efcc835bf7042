"""What the comparison with Brax's own PPO asks for is what our loop does."""

import dataclasses
import importlib.util
import inspect

import pytest
from places import ROOT

from l2o.config import files as config
from l2o.config.parts import ppo_training
from l2o.evaluation.ppo_tasks import ppo_lifetime

TASK = "inverted_pendulum"


@pytest.fixture(scope="module")
def reference():
    path = ROOT / "tests" / "benchmarks" / "_brax_reference.py"
    spec = importlib.util.spec_from_file_location("_brax_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training():
    settings = config.read_yaml(ROOT / "config" / "config.yaml") | {"scale": "quick"}
    usual = ppo_training(config.build(settings, ROOT / "config"))
    over = {"truncation": "mask", "env_steps": 81_920}
    return usual._replace(ppo=usual.ppo.model_copy(update=over))


def test_the_preset_is_what_brax_gets(reference, training):
    lifetime, budget = ppo_lifetime(TASK, training, seeds=1)
    asked = reference.reference_request(TASK, training, 1e-3, budget.updates, budget.points)
    ours, theirs = lifetime.agent.settings, asked["train"]

    assert asked["backend"] == training.backend == "spring"
    assert asked["networks"]["policy_hidden_layer_sizes"] == list(ours.policy_layers) == [32, 32]
    assert asked["networks"]["value_hidden_layer_sizes"] == list(ours.value_layers) == [64, 64]
    assert theirs["num_eval_envs"] == lifetime.episodes == training.episodes
    for name, argument in reference.ARGUMENTS.items():
        assert theirs[argument] == getattr(ours, name), name
    # What Brax is not asked for is as Brax has it.
    brax = {"activation": "swish", "initializer": "lecun_uniform", "truncation": "mask"}
    assert {name: getattr(ours, name) for name in brax} == brax
    names = {field.name for field in dataclasses.fields(ours)}
    networks = {"policy_layers", "value_layers"}
    assert names == set(reference.ARGUMENTS) | set(brax) | networks | {"env_steps", "learning_rate"}
    # ppo.train rounds the number of its updates up; here there is nothing to round.
    per_update = theirs["batch_size"] * theirs["num_minibatches"] * theirs["unroll_length"]
    assert theirs["num_timesteps"] == budget.updates * per_update == 81_920
    assert lifetime.steps_per_update == per_update
    assert theirs["num_evals"] == budget.points + 1


def test_brax_takes_every_argument(reference, training):
    from brax.training.agents.ppo import networks, train

    asked = reference.reference_request(TASK, training, 1e-3, 50, 5)
    assert asked["train"].keys() <= inspect.signature(train.train).parameters.keys()
    taken = inspect.signature(networks.make_ppo_networks).parameters
    assert asked["networks"].keys() <= taken.keys()


def test_make_bench_runs_no_helper():
    benchmarks = ROOT / "tests" / "benchmarks"
    helpers = {path.name for path in benchmarks.glob("_*.py")}
    assert helpers == {"_brax_ppo_worker.py", "_brax_reference.py"}
    assert f"{benchmarks.relative_to(ROOT)}/[!_]*.py" in (ROOT / "Makefile").read_text()


def test_the_worker_stands_alone(reference):
    assert "l2o" not in {
        word.split(".")[0]
        for line in reference.WORKER.read_text().splitlines()
        if line.lstrip().startswith(("import ", "from "))
        for word in line.split()
    }

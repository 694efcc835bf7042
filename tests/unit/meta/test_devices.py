"""The same meta-training on one device and on several."""

import os
import subprocess
import sys

import jax
import pytest

from l2o.config.recipe import Recipe
from l2o.errors import ConfigError
from l2o.meta.build import build_trainer
from l2o.meta.devices import use_devices

pytestmark = pytest.mark.long

# In a process of its own: the number of devices is set before JAX starts.
SCRIPT = """
import dataclasses, functools, sys
import jax, numpy as np
from l2o.meta.devices import use_devices
use_devices(8)
from l2o.meta.build import build_trainer, starting_point
from l2o.config.recipe import Recipe

estimator, objective, *counts = sys.argv[1:]
recipe = Recipe(
    optimizer={"name": "optim4rl_m", "mlp_sizes": ()},
    tasks=[{"task": "catch", "torso": "D32", "learning_rate": 0.01}],
    estimator=estimator, objective=objective, sigma=0.5, shaping="ranks",
    agents=16, environments=1, unroll=2, outer_steps=2, resets="staggered", reset_interval=4,
    meta_learning_rate=0.01, meta_grad_clip=1.0, log_interval=1, checkpoint_interval=2,
)
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
start, results = starting_point(recipe), []
for devices in (1, *map(int, counts)):
    trainer = build_trainer(recipe, devices)
    state = jit(trainer.init)(jax.random.key(0), start.settings(), trainer.phase(start))
    run = jit(functools.partial(trainer.run, steps=2))
    before = state.meta_params
    state, metrics = run(state, jax.random.key(1))
    results.append(jax.device_get((state.meta_params, metrics)))
    agents = jax.tree.leaves(state.populations)[0]
    assert len(agents.sharding.device_set) == devices, agents.sharding
moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), results[0][0], before)
assert max(jax.tree.leaves(moved)) > 1e-3
for other in results[1:]:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                 results[0], other)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("truncated_gradient", "actor", "2", "8"),
        ("truncated_es", "return", "8"),
        ("pes", "mean_return", "8"),
        ("full_es", "lifetime_return", "8"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_devices_agree(arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_devices_that_cannot_share_the_population_are_refused():
    recipe = Recipe(
        optimizer={"name": "linear"},
        tasks=[{"task": "catch"}],
        agents=6,
        environments=1,
        unroll=2,
        outer_steps=2,
        resets="none",
        reset_interval=4,
        objective="actor",
        meta_learning_rate=0.01,
        meta_grad_clip=None,
        log_interval=1,
        checkpoint_interval=2,
    )
    with pytest.raises(ConfigError, match="4 devices cannot share 6 agents"):
        build_trainer(recipe, 4)


def test_devices_that_are_not_there_are_refused():
    jax.devices()  # once JAX has started, the number is what it is
    with pytest.raises(ConfigError, match="--devices 64: this machine has"):
        use_devices(64)

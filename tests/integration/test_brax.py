"""Every Brax task on every backend of the table: compiled, reset, stepped.

Minutes: physics takes seconds to compile."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import options

from l2o.choices import BRAX_BACKENDS
from l2o.environments.brax import make_env

PAIRS = [(task, backend) for task, working in BRAX_BACKENDS.items() for backend in working]
STEPS = 20


@pytest.mark.parametrize(("task", "backend"), PAIRS)
def test_a_pair_gives_finite_rewards_and_moves(task, backend):
    env = make_env(task, backend, 1000)

    @functools.partial(jax.jit, compiler_options=options(level=0, old_emitters=True))
    def act(key):
        def step(state, key):
            action = jax.random.uniform(key, (2, env.action_size), minval=-1, maxval=1)
            state = env.step(state, action)
            return state, (state.terminal_obs, state.reward, state.truncation)

        first = env.reset(jax.random.split(key, 2))
        _, after = jax.lax.scan(step, first, jax.random.split(key, STEPS))
        return first.obs, *after

    first, observations, rewards, truncations = act(jax.random.PRNGKey(0))
    assert np.isfinite(first).all() and np.isfinite(observations).all()
    assert np.isfinite(rewards).all() and not truncations.any()
    moved = jnp.abs(observations - first).max(axis=(0, 1))
    # Some of what is observed stands still (of the humanoids, the world's inertia and velocity).
    assert (moved > 1e-3).mean() > 0.5, moved
    assert (rewards[:, 0] != 0).any()

"""Which Brax tasks work on which backends: the table of choices, held against Brax."""

import jax
import jax.numpy as jnp
import pytest
from brax import envs

from l2o.choices import BACKENDS, BRAX_BACKENDS, BROKEN_TASKS
from l2o.config.presets import BRAX_PRESETS
from l2o.environments.brax import make_env
from l2o.errors import ConfigError, L2OError
from l2o.tasks.ppo_tasks import make_ppo
from l2o.tasks.presets import preset

PAIRS = [(task, backend) for task, working in BRAX_BACKENDS.items() for backend in working]
LEFT_OUT = [
    (task, backend)
    for task in (*BRAX_BACKENDS, *BROKEN_TASKS)
    for backend in BACKENDS
    if backend not in BRAX_BACKENDS.get(task, ())
]
# Tracing takes one or two seconds a pair: here every task and every backend, all pairs with what
# they compute in tests/integration/test_brax.py.
SOME = [
    (task, working[i % len(working)]) for i, (task, working) in enumerate(BRAX_BACKENDS.items())
]


def test_the_table_is_complete():
    assert set(BRAX_BACKENDS) == set(BRAX_PRESETS) and not set(BROKEN_TASKS) & set(BRAX_BACKENDS)
    assert all(set(working) <= set(BACKENDS) and working for working in BRAX_BACKENDS.values())
    # Brax has one more, for its own tests.
    assert set(envs._envs) == {*BRAX_BACKENDS, *BROKEN_TASKS, "fast"}
    assert {backend for _, backend in SOME} == set(BACKENDS)


@pytest.mark.parametrize(("task", "backend"), SOME)
def test_a_pair_of_the_table_resets_and_steps(task, backend, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make_env(task, backend, 100)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.PRNGKey(0), 2))
    first = jax.eval_shape(env.reset, keys)
    after = jax.eval_shape(env.step, first, jnp.zeros((2, env.action_size)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), first) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    )
    assert first.obs.shape[0] == 2 and first.obs.ndim == 2 and first.reward.shape == (2,)
    # MuJoCo would print its warnings, and write them into MUJOCO_LOG.TXT.
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("task", "backend"), LEFT_OUT)
def test_a_pair_that_the_table_leaves_out_does_not_work(task, backend):
    def run(key):
        env = envs.get_environment(task, backend=backend)
        return env.step(env.reset(key), jnp.zeros(env.action_size))

    with pytest.raises((TypeError, ValueError, NotImplementedError)):
        jax.eval_shape(run, jax.random.PRNGKey(0))
    for make in (lambda: make_env(task, backend, 100), lambda: make_ppo(task, SETTINGS, backend)):
        with pytest.raises(L2OError, match=r"works on no backend|cannot use backend"):
            make()


SETTINGS = preset("ant")


def test_a_backend_that_a_task_cannot_use_is_named_with_those_that_it_can(monkeypatch):
    monkeypatch.setitem(BRAX_BACKENDS, "ant", ("spring", "mjx"))
    with pytest.raises(ConfigError) as caught:
        make_env("ant", "positional", 77)
    assert str(caught.value) == "task 'ant' cannot use backend 'positional', only spring, mjx."


def test_a_task_that_works_nowhere_says_so():
    with pytest.raises(L2OError, match=r"PPO task 'swimmer' works on no backend.*Known: .*ant"):
        preset("swimmer")

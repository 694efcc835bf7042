import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml

from l2o.cli import main
from l2o.meta.outer import MetaState, MetaTrainer, TrainingTask
from l2o.meta.population import due, fresh_agents, reset_index
from l2o.meta.replay import replay_gradient
from l2o.optimizers.registry import make_optimizer
from l2o.tasks.registry import make_a2c

AGENTS, INTERVAL, UNROLL = 4, 4, 2

# These programs run once or twice: compiling them is all the time there is.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class ReadsParams:
    """A learned optimizer with momentum and a weight decay: its update depends on parameters."""

    def init_meta(self, key):
        return {name: jnp.float32(value) for name, value in {"a": 0.3, "b": 0.2, "c": 0.8}.items()}

    def transform(self, meta, learning_rate=1.0):
        def update(updates, state, params=None, **extra):
            count, momentum = state
            momentum = jax.tree.map(lambda m, g: meta["c"] * m + g, momentum, updates)
            step = jax.tree.map(
                lambda m, p: -learning_rate * (meta["a"] * jnp.tanh(m) + meta["b"] * p * p),
                momentum,
                params,
            )
            return step, (count + 1, momentum)

        def init(params):
            return jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params)

        return optax.GradientTransformationExtraArgs(init, update)


OPTIMIZERS = {
    "optim4rl_b": lambda: make_optimizer("optim4rl_b"),
    "optim4rl_a": lambda: make_optimizer("optim4rl_a"),
    "linear": lambda: make_optimizer("linear"),
    "reads_params": ReadsParams,
}


def assert_close(actual, expected, rtol=1e-4):
    """Compare trees; the tolerance is relative to the largest entry of each leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def assert_identical(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def norm(tree) -> float:
    return float(optax.tree.norm(tree))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replay_gradient_is_the_gradient(name, steps=3):
    optimizer = OPTIMIZERS[name]()
    meta = optimizer.init_meta(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4)
    params = jax.random.normal(keys[0], (23,))
    gradients = jax.random.normal(keys[1], (steps, 23)) * 0.3
    cotangent = jax.random.normal(keys[2], (23,))

    def transform(meta):
        return optimizer.transform(meta, learning_rate=0.1)

    # A state from the middle of a lifetime.
    first = jax.random.normal(keys[3], (23,))
    _, state = transform(meta).update(first, transform(meta).init(params), params)

    def plain(meta):
        p, s = params, state
        for gradient in gradients:
            updates, s = transform(meta).update(gradient, s, p)
            p = p + updates
        return p @ cotangent

    expected = jit(jax.grad(plain))(meta)
    actual = jit(lambda *args: replay_gradient(transform, *args))(
        meta, state, params, gradients, cotangent
    )
    assert norm(expected) > 1e-3
    assert_close(actual, expected)


# The meta-gradient that a meta-optimizer is given, kept as its state; nothing is updated.
RECORD = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda updates, state, params=None: (jax.tree.map(jnp.zeros_like, updates), updates),
)


def make_trainer(optimizer="optim4rl_b", objective="actor", **changes) -> MetaTrainer:
    def agent(task):
        a2c = make_a2c(task, "D32")
        hyperparameters = dataclasses.replace(a2c.hyperparameters, rollout_steps=9)
        return dataclasses.replace(a2c, hyperparameters=hyperparameters)

    tasks = (
        TrainingTask("catch", agent("catch"), 0.01),
        TrainingTask("grid", agent("small_dense_short"), 0.003, reward_scale=10.0, weight=2.0),
    )
    settings = {
        "meta_optimizer": RECORD,
        "agents": AGENTS,
        "environments": 2,
        "unroll": UNROLL,
        "resets": "staggered",
        "reset_interval": INTERVAL,
    }
    return MetaTrainer(OPTIMIZERS[optimizer](), tasks, objective=objective, **(settings | changes))


def textbook_objective(meta, trainer: MetaTrainer, state: MetaState, key):
    """The mean meta-loss as one function of the meta-parameters, agent by agent."""
    total = 0.0
    keys = jax.random.split(key, len(trainer.tasks))
    for task, agents, task_key in zip(trainer.tasks, state.populations, keys, strict=True):
        a2c = task.agent
        tx = trainer.optimizer.transform(meta, learning_rate=task.learning_rate)
        key_reset, key_unroll, key_meta = jax.random.split(task_key, 3)
        fresh = jax.lax.stop_gradient(fresh_agents(a2c, tx, key_reset, AGENTS, 2))
        ages_out = due(state.schedule.index, state.step, state.schedule.interval)

        def lifetime(is_reset, new, old, rollout_keys, key_after, a2c=a2c, tx=tx, task=task):
            start = jax.tree.map(lambda a, b: jnp.where(is_reset, a, b), new, old)
            params, opt_state, actor, _ = start

            def act(params, actor, key):
                tree = a2c.unravel(jax.lax.stop_gradient(params))
                return jax.lax.stop_gradient(a2c.rollout(tree, actor, key)[:2])

            def loss(params, batch):
                total, terms = a2c.loss(a2c.unravel(params), batch, task.reward_scale)
                return total, terms["actor"]

            for k in range(UNROLL):
                actor, batch = act(params, actor, rollout_keys[k])
                gradient, _ = jax.lax.stop_gradient(jax.grad(loss, has_aux=True)(params, batch))
                updates, opt_state = tx.update(gradient, opt_state, params)
                params = optax.apply_updates(params, updates)
            _, batch = act(params, actor, key_after)
            return loss(params, batch)[trainer.objective == "actor"]

        rollout_keys = jax.vmap(lambda k: jax.random.split(k, AGENTS), out_axes=1)(
            jax.random.split(key_unroll, UNROLL)
        )
        losses = jax.vmap(lifetime)(
            ages_out, fresh, agents, rollout_keys, jax.random.split(key_meta, AGENTS)
        )
        total += task.weight * losses.mean()
    return total / sum(task.weight for task in trainer.tasks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "objective"),
    [("optim4rl_b", "actor"), ("reads_params", "agent_loss")],
)
def test_meta_gradient_of_a_step_is_the_textbook_one(optimizer, objective):
    trainer = make_trainer(optimizer, objective)
    state = jit(trainer.init)(jax.random.key(3))
    step = jit(trainer.step)
    state, _ = step(state, jax.random.key(4))
    key = jax.random.key(5)
    after, metrics = step(state, key)  # carried optimizer states; one agent per task is reset
    expected = jit(jax.grad(textbook_objective), static_argnums=1)(
        state.meta_params, trainer, state, key
    )
    assert norm(expected) > 1e-6
    assert_close(after.meta_opt_state, expected, rtol=1e-3)
    assert float(metrics["meta_gradient_norm"]) == pytest.approx(norm(expected), rel=1e-3)
    for agents in after.populations:
        np.testing.assert_array_equal(agents.age, [2 * UNROLL, UNROLL, 2 * UNROLL, 2 * UNROLL])


class TestResets:
    @pytest.mark.parametrize(
        ("scheme", "number", "interval", "expected"),
        [
            ("staggered", 4, 8, [0, 2, 4, 6]),
            ("staggered", 6, 3, [0, 0, 1, 1, 2, 2]),
            ("staggered", 3, 4, [0, 1, 2]),
            ("synchronous", 3, 8, [0, 0, 0]),
            ("none", 3, 8, [-1, -1, -1]),
        ],
    )
    def test_index(self, scheme, number, interval, expected):
        assert reset_index(scheme, number, interval).tolist() == expected

    @staticmethod
    def history(scheme, number, interval, steps):
        """Ages in outer steps after each step, and who was reset at it."""
        index, ages = reset_index(scheme, number, interval), np.zeros(number, int)
        for step in range(steps):
            where = np.asarray(due(index, jnp.int32(step), jnp.int32(interval)))
            ages = np.where(where, 0, ages) + 1
            yield ages, where

    @pytest.mark.parametrize("scheme", ["staggered", "synchronous", "none"])
    def test_nobody_is_reset_at_the_first_step(self, scheme):
        _, where = next(self.history(scheme, 6, 3, 1))
        assert not where.any()

    @pytest.mark.parametrize(("number", "interval"), [(6, 6), (4, 12), (12, 4)])
    def test_staggered_ages_cover_the_lifetime_at_any_time(self, number, interval):
        history = list(self.history("staggered", number, interval, 3 * interval + 1))
        spacing = max(1, interval // number)
        for ages, _ in history[interval:]:
            assert ages.max() <= interval
            assert np.diff(np.unique(ages)).tolist() == [spacing] * (min(number, interval) - 1)
        resets = np.sum([where for _, where in history], axis=0)
        assert (resets >= 2).all() and (resets <= 3).all()

    def test_synchronous_agents_share_an_age(self):
        history = list(self.history("synchronous", 5, 4, 13))
        assert [int(ages.min()) for ages, _ in history] == [1, 2, 3, 4] * 3 + [1]
        assert all(ages.min() == ages.max() for ages, _ in history)

    def test_none_never_resets(self):
        assert not any(where.any() for _, where in self.history("none", 5, 4, 13))


def poison(state: MetaState, task: int, agents: list[int]) -> MetaState:
    """Put NaN into the optimizer state of some agents: their first update breaks them."""
    populations = list(state.populations)
    broken = populations[task].opt_state._replace(
        hidden=jax.tree.map(
            lambda leaf: leaf.at[jnp.array(agents)].set(jnp.nan), populations[task].opt_state.hidden
        )
    )
    populations[task] = populations[task]._replace(opt_state=broken)
    return state._replace(populations=tuple(populations))


@pytest.fixture(scope="module")
def trainer():
    return make_trainer(meta_optimizer=optax.chain(RECORD, optax.trace(0.5)), reset_interval=1000)


@pytest.fixture(scope="module")
def step(trainer):
    return jit(trainer.step)


@pytest.fixture(scope="module")
def state(trainer, step):
    return step(jit(trainer.init)(jax.random.key(0)), jax.random.key(1))[0]


class TestRobustness:
    def test_a_broken_agent_is_left_out_then_restarted(self, step, state):
        key = jax.random.key(2)

        def gradient(agents):
            after, metrics = step(poison(state, 1, agents) if agents else state, key)
            assert metrics["grid/agents_excluded"] == len(agents)
            assert metrics["catch/agents_excluded"] == 0
            assert metrics["grid/agents_restarted"] == 0
            assert int(after.skipped) == 0 and np.isfinite(metrics["grid/meta_loss"])
            return after, after.meta_opt_state[0]

        after, without_1 = gradient([1])
        (_, clean), (_, only_1) = gradient([]), gradient([0, 2, 3])
        assert not np.isfinite(after.populations[1].params[1]).all()
        # What is left is the mean over the other agents; grid has 2/3 of the weight, catch the
        # rest, so that subtracting two gradients removes the part of catch.
        assert_close(
            jax.tree.map(lambda c, o: 4 * (c - o), clean, only_1),
            jax.tree.map(lambda w, o: 3 * (w - o), without_1, only_1),
            rtol=1e-3,
        )

        later, metrics = step(after, jax.random.key(3))
        assert metrics["grid/agents_restarted"] == 1 and metrics["grid/agents_excluded"] == 0
        assert np.isfinite(later.populations[1].params).all()
        ages = np.asarray(later.populations[1].age)
        assert ages.tolist() == [3 * UNROLL, UNROLL, 3 * UNROLL, 3 * UNROLL]
        assert later.populations[0].age.tolist() == [3 * UNROLL] * AGENTS

    def test_a_population_without_a_usable_agent_skips_the_update(self, step, state):
        after, metrics = step(poison(state, 0, [0, 1, 2, 3]), jax.random.key(2))
        assert (int(after.skipped), int(after.skipped_in_a_row)) == (1, 1)
        assert int(after.step) == int(state.step) + 1
        assert not np.isfinite(metrics["meta_gradient_norm"])
        assert metrics["meta_update_norm"] == 0 and metrics["catch/agents_excluded"] == AGENTS
        assert_identical(
            (after.meta_params, after.meta_opt_state), (state.meta_params, state.meta_opt_state)
        )
        assert np.isfinite(after.populations[1].params).all()
        later, metrics = step(after, jax.random.key(3))
        assert metrics["catch/agents_restarted"] == AGENTS
        assert (int(later.skipped), int(later.skipped_in_a_row)) == (1, 0)


def test_a_run_is_the_same_in_pieces():
    trainer = make_trainer(meta_optimizer=optax.adam(0.01))
    trainer = dataclasses.replace(trainer, tasks=trainer.tasks[:1])
    state = jit(trainer.init)(jax.random.key(0))
    key = jax.random.key(7)
    run = jit(trainer.run, static_argnames="steps")
    whole, metrics = run(state, key, steps=4)
    half, first = run(state, key, steps=2)
    halves, second = run(half, key, steps=2)
    assert_identical(halves, whole)
    assert_identical({n: np.concatenate([first[n], second[n]]) for n in first}, metrics)
    assert sorted(whole.populations[0].age.tolist()) == [2, 4, 6, 8]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), whole.meta_params, half.meta_params)
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_too_many_skipped_steps_stop_the_run(tmp_path, capsys):
    recipe = {
        "optimizer": {"name": "optim4rl_b"},
        "tasks": [{"task": "catch", "learning_rate": 1e38}],
        "agents": 2,
        "environments": 1,
        "unroll": 2,
        "outer_steps": 40,
        "resets": "none",
        "reset_interval": 8,
        "objective": "actor",
        "meta_learning_rate": 0.001,
        "meta_grad_clip": None,
        "log_interval": 2,
        "checkpoint_interval": 4,
        "max_skipped": 5,
    }
    config = tmp_path / "diverging.yaml"
    config.write_text(yaml.safe_dump(recipe))
    out = tmp_path / "out"
    assert main(["meta-train", "--config", str(config), "--out", str(out)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "l2o meta-train:" in line]
    assert len(lines) == 1
    assert "6 non-finite meta-gradients in a row at outer step 6" in lines[0]
    assert "step 4" in lines[0] and "smaller" in lines[0]
    assert json.loads((out / "run.failed.json").read_text())["status"] == "failed"
    assert not (out / "run.json").exists() and not (out / "checkpoints").exists()
    assert (out / ".state" / "series" / "step_000004.safetensors").is_file()

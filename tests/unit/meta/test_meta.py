import dataclasses
import functools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml

from l2o.agents.vectorize import on_tree
from l2o.cli import main
from l2o.meta.estimators import make_estimator
from l2o.meta.estimators.base import split_keys
from l2o.meta.loops.base import Shared
from l2o.meta.loops.replay import recorded_gradient, replay_gradient
from l2o.meta.loops.toy import ToyLoop, fresh_agents
from l2o.meta.objectives import get_objective
from l2o.meta.outer import MetaState, MetaTrainer, Start
from l2o.meta.population import (
    due,
    make_schedule,
    parameters,
    phases,
    spread_scale,
)
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.registry import make_optimizer
from l2o.tasks.registry import make_a2c

pytestmark = pytest.mark.long

AGENTS, INTERVAL, UNROLL = 4, 4, 2

# These programs run once or twice: compiling them is all the time there is.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class ReadsParams:
    """A learned optimizer with momentum and a weight decay: its update depends on parameters."""

    coordinate_wise = True
    reads = frozenset()

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
READS_UNITS = {
    "optim4rl_b_told": lambda: make_optimizer("optim4rl_b", features=["progress", "dormancy"])
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


@pytest.mark.parametrize("segment", [None, 2])
@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replay_gradient_is_the_gradient(name, along, segment, steps=4):
    optimizer = OPTIMIZERS[name]()
    meta = jit(optimizer.init_meta)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4)
    params = jax.random.normal(keys[0], (23,))
    gradients = jax.random.normal(keys[1], (steps, 23)) * 0.3
    cotangents = jax.random.normal(keys[2], (steps, 23))
    if not along:
        cotangents = cotangents * (jnp.arange(steps) == steps - 1)[:, None]

    def transform(meta):
        return optimizer.transform(meta, learning_rate=0.1)

    # A state from the middle of a lifetime.
    first = jax.random.normal(keys[3], (23,))
    state = jit(lambda meta: transform(meta).update(first, transform(meta).init(params), params))(
        meta
    )[1]

    def plain(meta):
        def step(carry, now):
            s, p = carry
            updates, s = transform(meta).update(now[0], s, p)
            p = p + updates
            return (s, p), p @ now[1]

        return jax.lax.scan(step, (state, params), (gradients, cotangents))[1].sum()

    def update(meta, carry, gradient):
        updates, s = transform(meta).update(gradient, *carry)
        return s, carry[1] + updates

    expected = jit(jax.grad(plain))(meta)
    cotangents = cotangents if along else cotangents[-1]
    if segment is None:
        history = [(state, params)]
        for gradient in gradients[:-1]:
            history.append(jit(update)(meta, history[-1], gradient))
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *history)
        function = functools.partial(recorded_gradient, update)
    else:
        start = (state, params)
        function = functools.partial(replay_gradient, update, segment=segment)
    actual = jit(function)(meta, start, gradients, cotangents)
    assert norm(expected) > 1e-3
    assert_close(actual, expected)


# The meta-gradient that a meta-optimizer is given, kept as its state; nothing is updated.
RECORD = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda updates, state, params=None: (jax.tree.map(jnp.zeros_like, updates), updates),
)


def make_trainer(optimizer="optim4rl_b", objective="actor", tasks=2, **changes) -> MetaTrainer:
    def agent(task):
        a2c = make_a2c(task, "D32")
        hyperparameters = dataclasses.replace(a2c.hyperparameters, rollout_steps=9)
        return dataclasses.replace(a2c, hyperparameters=hyperparameters)

    training = (
        TrainingTask("catch", agent("catch"), 0.01),
        TrainingTask("grid", agent("small_dense_short"), 0.003, reward_scale=10.0, weight=2.0),
    )
    optimizer = (OPTIMIZERS | READS_UNITS)[optimizer]()
    estimator = changes.pop("estimator", "truncated_gradient")
    loops = tuple(
        ToyLoop(optimizer, task, UNROLL, get_objective(objective, estimator), 2)
        for task in training[:tasks]
    )
    settings = {"meta_optimizer": RECORD} | changes
    shaped = make_estimator(estimator, objective, "standardise")
    return MetaTrainer(optimizer, loops, shaped, AGENTS, **settings)


def init(trainer, key, interval=INTERVAL, meta_learning_rate=1.0):
    # Perturbations so large that agents of a pair act differently within a few updates.
    start = Start(meta_learning_rate, sigma=2.0, resets="staggered", reset_interval=interval)
    return jit(trainer.init)(key, start.settings(), trainer.phase(start))


def units_by_hand(params, observation):
    """The mean magnitude of each unit of a dense agent, constants to the meta-gradient."""
    x = observation.reshape(*observation.shape[:2], -1)

    def dense(x, layer):
        return x @ params[layer]["kernel"] + params[layer]["bias"]

    torso = jax.nn.relu(dense(x, "torso"))
    units = {"torso": torso} | {head: dense(torso, head) for head in ("actor", "critic")}
    means = {name: jnp.abs(x).mean((0, 1)) for name, x in units.items()}
    return jax.lax.stop_gradient({name: {"kernel": a, "bias": a} for name, a in means.items()})


def textbook_objective(meta, trainer: MetaTrainer, state: MetaState, key):
    """The mean meta-loss as one function of the meta-parameters, agent by agent."""
    total = 0.0
    keys = jax.random.split(key, len(trainer.loops))
    for loop, agents, task_key in zip(trainer.loops, state.populations, keys, strict=True):
        task, a2c = loop.task, loop.task.agent
        tx = trainer.optimizer.transform(meta, learning_rate=task.learning_rate)
        if not trainer.optimizer.coordinate_wise:
            tx = on_tree(tx, a2c.unravel)
        agent_keys = split_keys(task_key, AGENTS, UNROLL + 2)
        schedule = state.settings.schedule
        fresh = jax.lax.stop_gradient(
            fresh_agents(task, tx, agent_keys[:, 0], agents.phase, 2, schedule)
        )
        ages_out = due(agents, schedule.interval, state.step, UNROLL)

        def lifetime(is_reset, new, old, rollout_keys, a2c=a2c, tx=tx, task=task, loop=loop):
            start = jax.tree.map(lambda a, b: jnp.where(is_reset, a, b), new, old)
            params, opt_state, actor = start.params, start.opt_state, start.actor

            def act(params, actor, key):
                tree = a2c.unravel(jax.lax.stop_gradient(params))
                return jax.lax.stop_gradient(a2c.rollout(tree, actor, key)[:2])

            def loss(params, batch):
                total, terms = a2c.loss(a2c.unravel(params), batch, task.reward_scale)
                return total, terms["actor"]

            losses = []
            for k in range(UNROLL + 1):
                actor, batch = act(params, actor, rollout_keys[1 + k])
                losses.append(loss(params, batch)[loop.objective.term == "actor"])
                gradient, _ = jax.lax.stop_gradient(jax.grad(loss, has_aux=True)(params, batch))
                told = {
                    "progress": (start.age + k) / (INTERVAL * UNROLL),
                    "activations": units_by_hand(a2c.unravel(params), batch.observation),
                }
                updates, opt_state = tx.update(gradient, opt_state, params, **told)
                params = optax.apply_updates(params, updates)
            return losses[-1] if loop.objective.over == "next" else sum(losses[1:]) / UNROLL

        losses = jax.vmap(lifetime)(ages_out, fresh, agents, agent_keys)
        total += task.weight * losses.mean()
    return total / sum(loop.task.weight for loop in trainer.loops)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "objective", "tasks"),
    [
        ("optim4rl_b", "actor", 2),
        ("optim4rl_b", "mean_actor", 1),
        ("optim4rl_b_told", "mean_actor", 1),
        ("reads_params", "agent_loss", 1),
        ("reads_params", "mean_agent_loss", 2),
    ],
)
def test_meta_gradient_of_a_step_is_the_textbook_one(optimizer, objective, tasks):
    trainer = make_trainer(optimizer, objective, tasks)
    state = init(trainer, jax.random.key(3))
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
            ("random", 3, 8, [-1, -1, -1]),
        ],
    )
    def test_phases(self, scheme, number, interval, expected):
        assert phases(scheme, number, interval).tolist() == expected

    @staticmethod
    def history(scheme, number, interval, steps):
        """Ages in outer steps after each step, and who was reset at it."""
        schedule, ages = make_schedule(scheme, interval), np.zeros(number, int)
        traits = SimpleNamespace(lifetime=jnp.full(number, schedule.longest))
        for step in range(steps):
            agents = SimpleNamespace(
                phase=phases(scheme, number, interval), age=jnp.asarray(ages), traits=traits
            )
            where = np.asarray(due(agents, schedule.interval, jnp.int32(step), 1))
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
    return make_trainer("linear", meta_optimizer=optax.chain(RECORD, optax.trace(0.5)))


@pytest.fixture(scope="module")
def step(trainer):
    return jit(trainer.step)


@pytest.fixture(scope="module")
def state(trainer, step):
    return step(init(trainer, jax.random.key(0), interval=1000), jax.random.key(1))[0]


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


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        ("truncated_gradient", "actor"),
        ("truncated_es", "return"),
        ("pes", "mean_return"),
        ("full_es", "final_return"),
    ],
)
def test_a_run_is_the_same_in_pieces(estimator, objective):
    adam = optax.scale_by_adam()
    trainer = make_trainer("linear", objective, 1, estimator=estimator, meta_optimizer=adam)
    state = init(trainer, jax.random.key(0), meta_learning_rate=0.01)
    key = jax.random.key(7)
    run = jit(trainer.run, static_argnames="steps")
    whole, metrics = run(state, key, steps=4)
    half, first = run(state, key, steps=2)
    halves, second = run(half, key, steps=2)
    assert_identical(halves, whole)
    assert_identical({n: np.concatenate([first[n], second[n]]) for n in first}, metrics)
    if estimator == "truncated_gradient":
        assert sorted(whole.populations[0].age.tolist()) == [2, 4, 6, 8]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), whole.meta_params, half.meta_params)
    assert max(jax.tree.leaves(moved)) > 1e-4


class TestTraits:
    """What is drawn for an agent when its lifetime starts."""

    @staticmethod
    def agents(number=64, scheme="none", **changes):
        task = dataclasses.replace(make_trainer(tasks=1).loops[0].task, **changes)
        keys = split_keys(jax.random.key(2), number, 1)[:, 0]
        make = functools.partial(
            fresh_agents,
            task,
            optax.identity(),
            phase=phases(scheme, number, 32),
            environments=1,
            schedule=make_schedule(scheme, 32),
        )
        return task, jit(make)(keys=keys)

    def test_rewards_are_scaled_log_uniformly(self):
        _, agents = self.agents(reward_scale=10.0, reward_range=4.0)
        scale = np.log(np.asarray(agents.traits.reward_scale) / 10) / np.log(4)
        assert (np.abs(scale) <= 1.0001).all()
        assert abs(scale.mean()) < 0.25 and scale.std() == pytest.approx(1 / 3**0.5, rel=0.2)

    def test_random_lifetimes_are_log_uniform(self):
        _, agents = self.agents(scheme="random")
        lifetime = np.asarray(agents.traits.lifetime)
        assert lifetime.min() >= 2 and lifetime.max() <= 32
        np.testing.assert_array_equal(lifetime, np.floor(lifetime))
        assert np.median(lifetime) == pytest.approx(8, rel=0.4)
        aged = agents._replace(age=jnp.full(64, 8))
        over = due(aged, jnp.int32(32), jnp.int32(5), 2)
        np.testing.assert_array_equal(over, lifetime <= 4)

    def test_reparametrisation_changes_what_the_optimizer_sees_not_the_agent(self):
        plain = self.agents()[1]
        task, scaled = self.agents(parameter_range=5.0)
        true = jax.vmap(lambda p, t: jax.tree.leaves(parameters(task, p, t)))(
            scaled.params, scaled.traits
        )
        flat = np.concatenate([np.reshape(leaf, (64, -1)) for leaf in true], axis=1)
        np.testing.assert_allclose(flat, plain.params, rtol=1e-5)
        ratio = np.asarray(scaled.params) / np.where(plain.params == 0, np.nan, plain.params)
        assert np.nanmax(ratio) > 2 and np.nanmin(ratio) < 0.5 and np.nanmax(ratio) <= 5.001

    def test_a_scale_divides_an_optimizer_that_ignores_it(self):
        """Under reparametrisation by c, gradient descent at rate r is the same at c^2 r."""
        loops = []
        for scale, rate in ((1.0, 0.09), (3.0, 0.01)):
            loop = make_trainer("reads_params", tasks=1).loops[0]
            task = dataclasses.replace(loop.task, learning_rate=rate, parameter_range=2.0)
            loops.append((scale, dataclasses.replace(loop, task=task, optimizer=Descent())))
        schedule, ends = make_schedule("none", 8), []
        for scale, loop in loops:
            shared = Shared((), jnp.float32(1.0), schedule, jnp.int32(0))
            keys = split_keys(jax.random.key(0), 2, loop.keys)
            agents = jit(loop.fresh)(shared, keys[:, 0], phases("none", 2, 8))
            true = agents.params * jax.vmap(functools.partial(spread_scale, loop.task))(
                agents.traits.tensor_scale
            )
            one = jnp.full_like(agents.traits.tensor_scale, scale)
            agents = agents._replace(
                params=true / scale, traits=agents.traits._replace(tensor_scale=one)
            )
            metas = jnp.zeros((2, 0))
            trained, _ = jit(loop.measure)(shared, metas, agents, keys)
            ends.append(np.asarray(trained.params) * scale)
        assert np.abs(ends[0] - np.asarray(true)).max() > 1e-3
        np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


class Descent(ReadsParams):
    """Gradient descent, as a learned optimizer."""

    def init_meta(self, key):
        return ()

    def transform(self, meta, learning_rate=1.0):
        return optax.with_extra_args_support(optax.sgd(learning_rate))


def test_returns_are_logged_by_age():
    trainer = make_trainer("linear", tasks=1)
    state = init(trainer, jax.random.key(0))
    _, metrics = jit(trainer.run, static_argnames="steps")(state, jax.random.key(1), steps=6)
    by_age = np.stack([metrics[f"catch/return_age_{i}_of_4"] for i in (1, 2, 3, 4)])
    # Everybody is young at first; from one interval on there is somebody of every age.
    assert np.isnan(by_age[1:, 0]).all() and np.isfinite(by_age[0, 0])
    assert np.isfinite(by_age[:, INTERVAL:]).all()


def test_too_many_skipped_steps_stop_the_run(tmp_path, capsys):
    recipe = {
        "optimizer": {"name": "linear"},
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
    assert (out / ".state" / "series" / "0" / "step_000004.safetensors").is_file()

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import l2o
from l2o.agents.a2c import A2CHyperparameters, Batch, lambda_returns, sample_action
from l2o.agents.networks import Convolution
from l2o.agents.ppo.agent import PPO
from l2o.agents.ppo.learning import learn
from l2o.agents.ppo.lifetime import collect
from l2o.agents.vectorize import on_tree, ravel, unravel_like
from l2o.config.ppo import PPOSettings
from l2o.environments.brax import make_env
from l2o.evaluation.candidates import Candidate, Program, resolve
from l2o.evaluation.evaluate import Budget, evaluate
from l2o.evaluation.ppo import PPOLifetime, _actors
from l2o.evaluation.toy import ToyLifetime
from l2o.seeding import key_for
from l2o.tasks.registry import make_a2c

pytestmark = pytest.mark.long


@pytest.mark.parametrize("lambda_", [0.0, 0.9, 1.0])
def test_lambda_returns_equal_those_of_brax(lambda_):
    from brax.training.agents.ppo.losses import compute_gae

    rng = np.random.default_rng(0)
    shape, discount = (13, 6), 0.97
    rewards, values = rng.normal(size=(2, *shape)).astype(np.float32)
    bootstrap = rng.normal(size=6).astype(np.float32)
    end = rng.random(shape)
    termination = (end < 0.2).astype(np.float32)
    truncation = ((end > 0.8) | (rng.random(shape) < 0.02)).astype(np.float32) * (1 - termination)
    assert termination.sum() > 3 and truncation.sum() > 3
    expected, _ = compute_gae(
        truncation, termination, rewards, values, bootstrap, lambda_, discount
    )
    actual = lambda_returns(
        rewards, discount * (1 - termination), values, bootstrap, lambda_, truncation
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


class TestSampleAction:
    sample = staticmethod(jax.jit(sample_action))

    @pytest.mark.parametrize(
        "logits", [[0.3, -1.2, 2.0], [0.0] * 9, [5.0, -5.0], [1e4, 1e4 + 1.0, -1e4]]
    )
    def test_distribution_is_the_softmax(self, logits):
        number = 200_000
        logits = jnp.array(logits)
        actions = self.sample(jax.random.key(0), jnp.broadcast_to(logits, (number, logits.size)))
        assert actions.dtype == jnp.int32 and actions.shape == (number,)
        assert 0 <= int(actions.min()) <= int(actions.max()) < logits.size
        expected = np.asarray(jax.nn.softmax(logits))
        counts = np.bincount(np.asarray(actions), minlength=logits.size)
        spread = np.sqrt(expected * (1 - expected) / number)
        np.testing.assert_allclose(counts / number, expected, atol=5 * spread.max() + 1e-7)

    def test_an_impossible_action_is_never_taken(self):
        logits = jnp.broadcast_to(jnp.array([-jnp.inf, 0.0, -jnp.inf, 0.0]), (100_000, 4))
        assert set(np.unique(self.sample(jax.random.key(1), logits))) == {1, 3}

    def test_rows_are_independent(self):
        logits = jnp.zeros((3, 5000, 2))
        first, second, third = np.asarray(self.sample(jax.random.key(2), logits)) * 2 - 1
        assert abs((first * second).mean()) < 0.08 and abs((second * third).mean()) < 0.08


def reference_loss_gradients(logits, values, bootstrap, batch, hyper, reward_scale):
    """Gradients of the loss with respect to logits and values, in NumPy, written with loops."""
    steps, envs = batch.reward.shape
    targets = np.zeros((steps, envs))
    for e in range(envs):
        following, value_after = float(bootstrap[e]), float(bootstrap[e])
        for t in reversed(range(steps)):
            terminated, truncated = batch.termination[t, e], batch.truncation[t, e]
            if truncated and not hyper.timeout_terminates:
                targets[t, e] = values[t, e]
            else:
                alive = 0.0 if terminated or truncated else 1.0
                mixed = hyper.gae_lambda * following + (1 - hyper.gae_lambda) * value_after
                targets[t, e] = reward_scale * batch.reward[t, e] + alive * hyper.discount * mixed
            following, value_after = targets[t, e], values[t, e]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    advantage = targets - values
    taken = np.eye(logits.shape[-1])[batch.action]
    entropy = -(p * np.log(p)).sum(-1, keepdims=True)
    d_entropy = -p * (np.log(p) + entropy)
    d_logits = -advantage[..., None] * (taken - p) - hyper.entropy_weight * d_entropy
    d_values = hyper.critic_weight * 2 * (values - targets)
    return d_logits / (steps * envs), d_values / (steps * envs)


@pytest.mark.parametrize("timeout_terminates", [True, False])
@pytest.mark.parametrize("reward_scale", [1.0, 50.0])
def test_a2c_loss_gradient(timeout_terminates, reward_scale):
    hyper = A2CHyperparameters(6, 0.9, 0.8, 0.7, 0.05, timeout_terminates)
    agent = dataclasses.replace(make_a2c("catch", "D32"), hyperparameters=hyper)
    rng = np.random.default_rng(1)
    steps, envs = 6, 3
    ends = np.zeros((2, steps, envs), np.float32)
    ends[0, 2, 0] = ends[0, 5, 1] = 1  # terminations
    ends[1, 3, 2] = ends[1, 5, 0] = 1  # truncations
    batch = Batch(
        rng.normal(size=(steps, envs, 10, 5)).astype(np.float32),
        rng.integers(3, size=(steps, envs)).astype(np.int32),
        rng.normal(size=(steps, envs)).astype(np.float32),
        *ends,
        rng.normal(size=(envs, 10, 5)).astype(np.float32),
    )
    params = agent.init_params(jax.random.key(0))
    forward = jax.jit(jax.vmap(lambda seen: agent.network.apply({"params": params}, seen)))
    logits, values = (np.asarray(x, np.float64) for x in forward(batch.observation))
    bootstrap = np.asarray(forward(batch.last_observation)[1], np.float64)
    d_logits, d_values = reference_loss_gradients(
        logits, values, bootstrap, batch, hyper, reward_scale
    )
    gradient = jax.jit(jax.grad(lambda p: agent.loss(p, batch, reward_scale)[0]))(params)
    kernel, bias = params["torso"]["kernel"], params["torso"]["bias"]
    hidden = np.maximum(batch.observation.reshape(steps, envs, -1) @ kernel + bias, 0)
    for head, cotangent in (("actor", d_logits), ("critic", d_values[..., None])):
        expected = np.einsum("teh,teo->ho", hidden, cotangent)
        np.testing.assert_allclose(gradient[head]["kernel"], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(
            gradient[head]["bias"], cotangent.sum((0, 1)), rtol=1e-3, atol=1e-4
        )


def test_the_convolution_is_that_of_flax():
    x = jax.random.normal(jax.random.key(0), (3, 2, 5, 12, 14))
    ours, flax = Convolution(16), nn.Conv(16, (2, 2), padding="VALID")
    params = ours.init(jax.random.key(1), x)
    bias = jax.random.normal(jax.random.key(2), (16,))
    params = {"params": params["params"] | {"bias": bias}}
    channels_last = jnp.moveaxis(x, -3, -1)
    shapes = jax.tree.map(jnp.shape, flax.init(jax.random.key(1), channels_last))
    assert jax.tree.map(jnp.shape, params) == shapes
    expected = flax.apply(params, channels_last)
    np.testing.assert_allclose(ours.apply(params, x), expected, rtol=1e-5, atol=1e-5)


def test_a2c_learns_catch():
    lifetime = ToyLifetime(make_a2c("catch", "D32"), 16)
    candidates = [resolve("adam", 0.01), Candidate("still", "sgd", 0.0)]
    curves = evaluate("catch", lifetime, candidates, [0], Budget(300, points=6, lanes=2))
    curves = {name: table["return"].to_numpy() for name, table in curves.groupby("optimizer")}
    assert curves["adam"][-1] > 0.5
    assert curves["adam"][-1] > curves["adam"][0] + 0.5
    assert (np.abs(curves["still"] + 0.6) < 0.15).all()  # untrained: near-random play


def test_equal_seeds_give_equal_agents_whatever_the_optimizer():
    lifetime = ToyLifetime(make_a2c("catch", "D32"), 2)
    keys = jnp.stack([key_for(seed, "evaluate", "catch") for seed in (5, 6)])
    learned = resolve("optim4rl_b", 0.01)
    values = {
        "classical": {"index": jnp.array([0, 1]), "learning_rate": jnp.array([0.1, 0.2])},
        "learned": {
            "meta_params": jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), learned.meta_params),
            "learning_rate": jnp.array([0.1, 0.2]),
        },
    }
    programs = {"classical": Program(("adam", "sgd")), "learned": Program(learned.optimizer)}
    first, second = (lifetime.init(programs[name], values[name], keys, 10) for name in programs)
    for part in ("params", "actor"):
        for a, b in zip(
            jax.tree.leaves(getattr(first, part)),
            jax.tree.leaves(getattr(second, part)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert (jax.random.key_data(first.key) == jax.random.key_data(second.key)).all()
    assert not np.array_equal(first.params[0], first.params[1])


LENGTH = 20


class Probe:
    """A tiny PPO lifetime on inverted_pendulum, one reward per step until the pole falls."""

    def __init__(self):
        settings = PPOSettings(
            env_steps=400,
            environments=4,
            batch_size=4,
            minibatches=2,
            unroll_length=5,
            epochs=2,
            discount=0.97,
            entropy_weight=0.01,
            reward_scale=1.0,
            learning_rate=0.01,
            policy_layers=(8,),
            value_layers=(8,),
            episode_length=LENGTH,
        )
        agent = PPO(make_env("inverted_pendulum", "spring", LENGTH), settings)
        self.lifetime = PPOLifetime(agent, episodes=3)
        keys = jnp.stack([key_for(seed, "probe") for seed in (0, 0, 1)])
        learned = resolve("optim4rl_b", 0.01)
        rates = jnp.array([0.01, 0.003, 0.01])
        self.programs = {
            "classical": (
                Program(("adam", "sgd")),
                {"index": jnp.array([0, 1, 0]), "learning_rate": rates},
            ),
            "learned": (
                Program(learned.optimizer),
                {
                    "meta_params": jax.tree.map(
                        lambda leaf: jnp.stack([leaf] * 3), learned.meta_params
                    ),
                    "learning_rate": rates,
                },
            ),
        }
        self.start = {name: self.lifetime.init(*p, keys, 10) for name, p in self.programs.items()}
        self.end = {
            name: self.lifetime.advance(*self.programs[name], state, 3)
            for name, state in self.start.items()
        }


@pytest.fixture(scope="module")
def probe():
    return Probe()


def test_an_optimizer_of_whole_tensors_gets_the_tree():
    shapes = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(4)}
    optimizer = l2o.make_optimizer("small_fc")
    tx = optimizer.transform(optimizer.init_meta(jax.random.key(0)))
    params, g = jax.random.normal(jax.random.key(1), (2, 16))

    def unravel(flat):
        return unravel_like(shapes, flat)

    def update(tx, *args):
        updates, _ = tx.update(args[0], tx.init(args[1]), args[1], value=1.0)
        return ravel(updates)

    @jax.jit
    def updates(g, params):
        of_tree = update(tx, unravel(g), unravel(params))
        return of_tree, update(on_tree(tx, unravel), g, params), update(tx, g, params)

    wanted, flat, as_one_vector = updates(g, params)
    np.testing.assert_allclose(flat, wanted, rtol=1e-6)
    assert not np.allclose(as_one_vector, wanted, rtol=0.01)


@pytest.mark.slow
class TestPPO:
    def test_sizes(self, probe):
        assert probe.lifetime.steps_per_update == 4 * 2 * 5
        assert probe.lifetime.agent.unrolls == 2
        tree = probe.lifetime.agent.unravel(probe.start["classical"].params[0])
        assert (
            sum(leaf.size for leaf in jax.tree.leaves(tree))
            == probe.start["classical"].params.shape[1]
        )

    def test_equal_seeds_give_equal_agents_whatever_the_optimizer(self, probe):
        classical, learned = probe.start["classical"], probe.start["learned"]
        np.testing.assert_array_equal(classical.params, learned.params)
        np.testing.assert_array_equal(classical.params[0], classical.params[1])
        assert not np.array_equal(classical.params[0], classical.params[2])
        for a, b in zip(
            jax.tree.leaves(classical.actor.env_state),
            jax.tree.leaves(learned.actor.env_state),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a[0], a[1])

    @pytest.mark.parametrize("name", ["classical", "learned"])
    def test_every_optimizer_trains(self, probe, name):
        state, measured = probe.end[name]
        moved = np.abs(np.asarray(state.params - probe.start[name].params)).max(axis=1)
        assert np.isfinite(state.params).all() and (moved > 1e-5).all()
        returns = np.asarray(measured["return"])
        assert ((returns >= 1) & (returns <= LENGTH)).all()
        assert (np.asarray(measured["episodes"]) == 3).all()
        assert len(np.unique(np.asarray(state.params), axis=0)) == 3  # optimizer, rate or seed
        count = state.actor.normalizer.count
        seen = np.asarray(getattr(count, "lo", count))  # Brax counts in two words
        assert (seen == 3 * probe.lifetime.steps_per_update).all()

    @pytest.mark.parametrize("name", ["classical", "learned"])
    def test_a_pause_between_two_updates_changes_nothing(self, probe, name):
        program, start = probe.programs[name], probe.start[name]
        first, nothing = probe.lifetime.advance(*program, start, 3, pause=lambda: True)
        assert nothing is None and first.update.tolist() == [1, 1, 1]
        state, measured = probe.lifetime.advance(*program, first, 2, pause=lambda: False)
        whole, expected = probe.end[name]
        np.testing.assert_array_equal(state.params, whole.params)
        np.testing.assert_array_equal(measured["return"], expected["return"])

    def test_a_policy_that_does_nothing_is_scored_alike_by_equal_seeds(self, probe):
        state = probe.start["classical"]
        idle = _actors(state._replace(params=jnp.zeros_like(state.params)))
        returns = probe.lifetime._evaluate(idle, np.zeros(state.update.shape, bool))
        assert ((returns >= 1) & (returns <= LENGTH)).all()
        assert returns[0] == returns[1]

    def test_any_optax_transformation_fits(self, probe):
        agent, start = probe.lifetime.agent, probe.start["classical"]
        tx = optax.with_extra_args_support(optax.chain(optax.clip(1.0), optax.adamw(1e-3)))
        shapes = jax.eval_shape(
            lambda params, actor: learn(
                agent,
                tx,
                params,
                tx.init(params),
                actor.normalizer,
                collect(agent, params, actor)[1].data,
                jax.random.key(0),
            ),
            *(jax.tree.map(lambda leaf: leaf[0], part) for part in (start.params, start.actor)),
        )
        assert shapes[0].shape == start.params[0].shape

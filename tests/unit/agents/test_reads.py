"""What agents give optimizers that read more than gradients: active units, epochs, a key."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import options

import l2o
from l2o.agents.a2c import A2C
from l2o.agents.classifier import Classifier
from l2o.agents.ppo.learning import learn
from l2o.agents.ppo.networks import MLP
from l2o.agents.vectorize import on_tree, ravel
from l2o.config.ppo import PPOSettings
from l2o.evaluation.candidates import Program
from l2o.evaluation.ppo import PPOLifetime
from l2o.evaluation.toy import ToyLifetime
from l2o.meta.estimators.base import split_keys
from l2o.meta.loops.base import Shared
from l2o.meta.loops.toy import ToyLoop
from l2o.meta.objectives import get_objective
from l2o.meta.population import make_schedule, parameters, phases
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.open import OPEN
from l2o.optimizers.optim4rl import Optim4RLB
from l2o.seeding import key_for, noise_key
from l2o.tasks.ppo_tasks import make_ppo
from l2o.tasks.registry import make_a2c

pytestmark = pytest.mark.long

EVERYTHING = frozenset({"activations", "batch_progress", "key"})
SETTINGS = PPOSettings(
    env_steps=1_000,
    environments=4,
    batch_size=4,
    minibatches=2,
    unroll_length=5,
    epochs=3,
    discount=0.9,
    entropy_weight=0.01,
    reward_scale=1.0,
    learning_rate=5e-3,
    activation="tanh",
    normalize_observations=False,
    policy_layers=(6, 5),
    value_layers=(4,),
    episode_length=5,
)

# Compiling is what takes time here.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Curious(Optim4RLB):
    """Is given everything and makes nothing of it."""

    coordinate_wise = False
    reads = EVERYTHING


class BlindOPEN(OPEN):
    """OPEN that is not told which units are active."""

    reads = OPEN.reads - {"activations"}


def random_meta(optimizer, scale=0.3):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(scale=scale, size=x.shape).astype(x.dtype), shapes)


def assert_close(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, **({"rtol": 1e-5, "atol": 1e-7} | tolerance))


# The activations themselves, in NumPy


def dense(x, layer):
    return np.asarray(x) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def on_leaves(units):
    """Give kernel and bias of each layer the mean magnitudes of its units ``[..., units]``."""
    mean = {name: np.abs(x).reshape(-1, x.shape[-1]).mean(0) for name, x in units.items()}
    return {name: {"kernel": a, "bias": a} for name, a in mean.items()}


def actor_critic_by_hand(params, observation):
    """Activations of the torso and heads, from what comes before the torso."""
    torso = np.maximum(dense(observation.reshape(*observation.shape[:2], -1), params["torso"]), 0)
    return {"torso": torso} | {head: dense(torso, params[head]) for head in ("actor", "critic")}


def mlp_by_hand(params, x, nonlinearity):
    units, layers = {}, params["params"]
    for i in range(len(layers)):
        x = dense(x, layers[f"hidden_{i}"])
        x = x if i == len(layers) - 1 else nonlinearity(x)
        units[f"hidden_{i}"] = x
    return {"params": on_leaves(units)}


def batch_of(agent, environments=3):
    """Return random parameters, no bias zero, and a rollout with them."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(leaf.dtype), agent.shapes
    )

    @jit
    def roll(params):
        actor = agent.init_actor(jax.random.key(1), environments)
        return agent.rollout(params, actor, jax.random.key(2))[1]

    return params, roll(params)


def small(agent):
    hyperparameters = dataclasses.replace(agent.hyperparameters, rollout_steps=4)
    return dataclasses.replace(agent, hyperparameters=hyperparameters)


def test_activations_of_a_dense_agent():
    agent = small(make_a2c("catch", "D32"))
    params, batch = batch_of(agent)
    expected = on_leaves(actor_critic_by_hand(params, batch.observation))
    assert expected["torso"]["bias"].std() > 0.1
    assert_close(agent.activations(params, batch), expected)


def test_activations_of_a_convolutional_agent():
    agent = small(make_a2c("small_dense_short", "C16-D32"))
    params, batch = batch_of(agent)
    grid = np.moveaxis(np.asarray(batch.observation), -3, -1)  # [T, E, H, W, C]
    kernel, height, width = np.asarray(params["convolution"]["kernel"]), *grid.shape[2:4]
    channels = np.asarray(params["convolution"]["bias"]) + sum(
        grid[:, :, i : height - 1 + i, j : width - 1 + j] @ kernel[i, j]
        for i in (0, 1)
        for j in (0, 1)
    )
    channels = np.maximum(channels, 0)
    units = {"convolution": channels} | actor_critic_by_hand(params, channels)
    assert_close(agent.activations(params, batch), on_leaves(units))


def test_activations_of_a_classifier():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 6)).astype(np.float32)
    agent = Classifier(images, rng.integers(3, size=20).astype(np.int32), held_out=5, hidden=4)
    params, batch = batch_of(agent, 7)
    hidden = np.maximum(dense(batch.observation, params["layers_0"]), 0)
    units = {"layers_0": hidden, "layers_2": dense(hidden, params["layers_2"])}
    assert_close(agent.activations(params, batch), on_leaves(units))


@pytest.mark.parametrize(
    ("activation", "nonlinearity"),
    [("tanh", np.tanh), ("swish", lambda x: x / (1 + np.exp(-x)))],
)
def test_activations_of_a_ppo_agent(activation, nonlinearity):
    agent = make_ppo("cartpole", dataclasses.replace(SETTINGS, activation=activation))
    keys = jax.random.split(jax.random.key(0))
    params = agent.unravel(agent.init_params(keys[0]))
    observation = jax.random.normal(keys[1], (5, 3, agent.observation_size))
    found = agent.networks.activations(params, observation)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for network, units in zip(params, found, strict=True):
        assert_close(units, mlp_by_hand(network, observation, nonlinearity))


# Evaluation on toy tasks


@functools.cache
def toy():
    return ToyLifetime(small(make_a2c("catch", "D32")), 2)


def start(lifetime, optimizer, learning_rate=1.0, lanes=2):
    """Return the program, values and new agents of an optimizer with random meta-parameters."""
    meta = jax.tree.map(lambda leaf: np.stack([leaf] * lanes), random_meta(optimizer))
    values = {"meta_params": meta, "learning_rate": np.full(lanes, learning_rate, np.float32)}
    keys = jnp.stack([key_for(seed, "reads") for seed in range(lanes)])
    program = Program(optimizer)
    return program, values, lifetime.init(program, values, keys, 10)


# What is below jit remembers what it traced and is compiled with all optimisations.
ADVANCE, LEARN = ToyLifetime._advance.__wrapped__, PPOLifetime._learn.__wrapped__


@functools.cache
def toy_after(optimizer, learning_rate, updates):
    program, values, state = start(toy(), optimizer, learning_rate)
    advance = jit(lambda values, state: ADVANCE(toy(), program, values, state, updates)[0])
    return state, advance(values, state)


def test_an_update_of_open_on_a_toy_task_is_the_one_by_hand():
    optimizer, agent = OPEN(), toy().agent
    before, after = toy_after(optimizer, 1.0, 1)
    params = agent.unravel(before.params[1])
    actor = jax.tree.map(lambda leaf: leaf[1], before.actor)
    key = jax.random.split(before.key[1])[0]

    @jit
    def learn(params, actor, key):
        _, batch, _ = agent.rollout(params, actor, key)
        return batch, jax.grad(lambda tree: agent.loss(tree, batch)[0])(params)

    batch, gradient = learn(params, actor, key)
    units = on_leaves(actor_critic_by_hand(params, batch.observation))
    even = jax.tree.map(np.ones_like, units)
    tx = optimizer.transform(random_meta(optimizer))

    @jit
    @jax.vmap
    def update(activations, key):
        return ravel(
            tx.update(gradient, tx.init(params), params, activations=activations, key=key)[0]
        )

    told = jax.tree.map(lambda *x: np.stack(x), units, even, units)
    expected, *others = update(told, jnp.stack([noise_key(key)] * 2 + [key]))
    actual = after.params[1] - before.params[1]
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-7)
    for other in others:
        assert np.abs(other - expected).max() > 1e-5


def test_open_learns_otherwise_where_it_sees_units():
    _, seeing = toy_after(OPEN(), 1.0, 1)
    _, blind = toy_after(BlindOPEN(), 1.0, 1)
    assert np.abs(seeing.params - blind.params).max() > 1e-5
    for a, b in zip(jax.tree.leaves(seeing.actor), jax.tree.leaves(blind.actor), strict=True):
        np.testing.assert_array_equal(a, b)  # the same rollout


def test_what_is_given_changes_nothing_else_on_a_toy_task():
    _, curious = toy_after(Curious(), 0.01, 3)
    _, plain = toy_after(Optim4RLB(), 0.01, 3)
    for a, b in zip(jax.tree.leaves(curious), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(*map(raw, (a, b)))


def raw(leaf):
    """Return an array's numbers, those of random keys too."""
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed else leaf)


# Evaluation with PPO


class Told:
    """A transformation that updates nothing and keeps what it is told, one entry per step."""

    @staticmethod
    def init(params):
        return jnp.int32(0), {
            "batch_progress": jnp.full(6, -1.0),
            "key": jax.random.split(jax.random.key(0), 6),
            "units": jnp.zeros((6, 6 + 5 + 2 + 4 + 1)),
        }

    @staticmethod
    def update(updates, state, params=None, *, value, progress, activations, batch_progress, key):
        step, seen = state
        layers = [
            layer["bias"]
            for network in activations
            for _, layer in sorted(network["params"].items())
        ]
        now = {
            "batch_progress": batch_progress,
            "key": key,
            "units": jnp.concatenate(layers),
        }
        seen = {name: seen[name].at[step].set(now[name]) for name in seen}
        return jnp.zeros_like(updates), (step + 1, seen)


def test_every_minibatch_of_ppo_is_told_apart():
    agent = make_ppo("cartpole", SETTINGS)

    @jit
    def learned(key):
        params = agent.init_params(key)
        data = agent.rollout(params, None, agent.act(params, None, agent.init_envs(key), key)[1])
        state = Told.init(params)
        _, (_, seen), _ = learn(
            agent, Told, params, state, None, data, jax.random.key(3), 0.5, EVERYTHING
        )
        return params, data.observation, seen

    params, observation, seen = learned(jax.random.key(0))
    np.testing.assert_allclose(seen["batch_progress"], [0, 0, 0.5, 0.5, 1, 1])
    keys = jax.random.key_data(seen["key"])
    assert len(np.unique(keys, axis=0)) == 6
    # Minibatches of an epoch are equally large: their mean is that of the whole batch.
    policy, value = agent.unravel(params)
    expected = np.concatenate(
        [
            layer["bias"]
            for network in (policy, value)
            for layer in mlp_by_hand(network, observation, np.tanh)["params"].values()
        ]
    )
    epochs = np.asarray(seen["units"]).reshape(3, 2, -1)
    np.testing.assert_allclose(epochs.mean(1), np.stack([expected] * 3), rtol=1e-5)
    assert np.abs(epochs[:, 0] - epochs[:, 1]).max() > 1e-4


@functools.cache
def ppo():
    return PPOLifetime(make_ppo("cartpole", SETTINGS))


@functools.cache
def ppo_after(optimizer, learning_rate):
    program, values, state = start(ppo(), optimizer, learning_rate)
    return state, jit(lambda state: ppo_update(program, values, state))(state)


def ppo_update(program, values, state):
    actor, data, keys = ppo()._collect(state.params, state.actor)
    state = state._replace(actor=actor)
    return LEARN(ppo(), program, values, state, data, keys)


def test_open_learns_otherwise_with_ppo_where_it_sees_units():
    before, seeing = ppo_after(OPEN(), 1.0)
    _, blind = ppo_after(BlindOPEN(), 1.0)
    assert np.isfinite(seeing.params).all()
    assert np.abs(seeing.params - before.params).max() > 1e-4
    assert np.abs(seeing.params - blind.params).max() > 1e-5


def test_what_is_given_changes_nothing_else_with_ppo():
    _, curious = ppo_after(Curious(), 0.01)
    _, plain = ppo_after(Optim4RLB(), 0.01)
    for a, b in zip(jax.tree.leaves(curious), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(*map(raw, (a, b)))


# Meta-training


def loop_of(optimizer, **changes):
    task = TrainingTask("catch", toy().agent, 0.01, **changes)
    return ToyLoop(optimizer, task, 2, get_objective("actor", "truncated_gradient"), 2)


def population(loop):
    shared = Shared(
        random_meta(loop.optimizer), jnp.float32(1.0), make_schedule("none", 8), jnp.int32(0)
    )
    keys = split_keys(jax.random.key(5), 3, loop.keys)
    return shared, jit(loop.fresh)(shared, keys[:, 0], phases("none", 3, 8)), keys


def test_meta_training_records_units_of_the_true_parameters_and_a_key():
    loop = loop_of(OPEN(), parameter_range=3.0)
    shared, agents, keys = population(loop)

    @jit
    def train(shared, agents, keys):
        return loop.train(shared, agents, keys)[1], loop._rollout(agents, keys[:, 1])[1]

    recorded, batch = train(shared, agents, keys)
    assert recorded.given.keys() == {"activations", "key"}
    assert (np.abs(np.log(agents.traits.tensor_scale)) > 0.1).any(axis=1).all()
    for i in range(3):
        agent, of_agent = jax.tree.map(lambda leaf, i=i: leaf[i], (agents, batch))
        params = parameters(loop.task, agent.params, agent.traits)
        expected = on_leaves(actor_critic_by_hand(params, of_agent.observation))
        first = jax.tree.map(lambda leaf, i=i: leaf[0, i], recorded.given["activations"])
        assert_close(first, expected)
    expected = jax.vmap(jax.vmap(noise_key))(keys[:, 1:-1]).T
    np.testing.assert_array_equal(raw(recorded.given["key"]), raw(expected))


def test_the_meta_gradient_of_open_sees_units_and_noise():
    loop = dataclasses.replace(loop_of(OPEN()), segment=1)
    gradient = jit(loop.differentiate)(*population(loop))[1].gradient
    noise, bias = gradient["dense"][-1]["b"][:, 2], gradient["gru"]["b_in"]
    assert (np.abs(noise) > 1e-7).all()  # without a key it would be exactly 0
    # Were all units equally active, dormancy would be 1, as what the bias is multiplied by.
    of_dormancy, scale = gradient["gru"]["w_in"][..., -1], np.abs(bias).max(axis=1)
    assert (np.abs(of_dormancy - bias).max(axis=1) > 0.01 * scale).all() and (scale > 0).all()


def test_what_is_given_changes_nothing_else_in_meta_training():
    (shared, agents, keys), ends = population(loop_of(Optim4RLB())), []
    # XLA's older emitters would not sum in the same order in both programs.
    for optimizer in (Curious(), Optim4RLB()):
        differentiate = jax.jit(loop_of(optimizer).differentiate, compiler_options=options(level=0))
        ends.append(differentiate(shared, agents, keys))
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(*map(raw, (a, b)))


def trace_toy(optimizer):
    program, values, state = start(toy(), optimizer)
    return jax.eval_shape(lambda state: ADVANCE(toy(), program, values, state, 1), state)


def trace_ppo(optimizer):
    program, values, state = start(ppo(), optimizer)
    return jax.eval_shape(lambda state: ppo_update(program, values, state), state)


def trace_meta_training(optimizer):
    loop = loop_of(optimizer)
    return jax.eval_shape(loop.train, *population(loop))


@pytest.mark.parametrize("trace", [trace_toy, trace_ppo, trace_meta_training])
def test_nothing_is_computed_for_optimizers_that_do_not_read_it(trace, monkeypatch):
    def refuse(*args):
        raise AssertionError("computed")

    monkeypatch.setattr(A2C, "activations", refuse)
    monkeypatch.setattr(MLP, "activations", refuse)
    trace(Optim4RLB())
    with pytest.raises(AssertionError, match="computed"):
        trace(Curious())
    monkeypatch.undo()
    for module in ("agents.ppo.learning", "evaluation.toy", "meta.loops.toy"):
        monkeypatch.setattr(f"l2o.{module}.noise_key", refuse)
    trace(Optim4RLB())
    with pytest.raises(AssertionError, match="computed"):
        trace(Curious())


def test_a_flat_vector_is_told_as_a_tree_is():
    """What an agent gives has the structure of its parameters, so `on_tree` passes it on."""
    agent = toy().agent
    optimizer = l2o.make_optimizer("optim4rl_b", features=["dormancy"])
    assert not optimizer.coordinate_wise
    params, batch = batch_of(agent)
    gradient = jit(jax.grad(lambda tree: agent.loss(tree, batch)[0]))(params)
    tx = optimizer.transform(random_meta(optimizer))
    activations = agent.activations(params, batch)
    expected, _ = tx.update(gradient, tx.init(params), activations=activations)
    flat = on_tree(tx, agent.unravel)
    actual, _ = flat.update(ravel(gradient), flat.init(ravel(params)), activations=activations)
    np.testing.assert_allclose(actual, ravel(expected), rtol=1e-6)
    unknown, _ = tx.update(gradient, tx.init(params))
    assert np.abs(ravel(unknown) - actual).max() > 1e-3

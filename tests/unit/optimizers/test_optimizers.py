"""Coordinate-wise learned optimizers against reference vectors; the optax contract, classical too.

``tests/data/golden/<name>.npz`` holds what the official Optim4RL implementation computes over 20
steps from given gradients of 119 parameters, those of six leaves: ``grads``, ``cotangent`` and
``updates`` (all ``[20, 119]``), the ``hidden`` state after the last step ``[GRUs, 119, 8]``, and
``meta`` (meta-parameters) and ``metagrad`` (derivative of ``sum(cotangent * updates)`` with respect
to them) as vectors that ``layout`` (JSON: name to shape) cuts into the reference's arrays.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import options
from golden import GOLDEN, cut
from places import REFERENCE

import l2o
from l2o.errors import ConfigError, L2OError
from l2o.optimizers.classical import bank, classical, list_classical
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.recurrent import gru, mlp

pytestmark = pytest.mark.long

COMPLETE = REFERENCE / "golden"
RATE = 0.003
REFERENCES = {
    f"{name}{suffix}": (registered, settings | {"grad_clip": grad_clip})
    for name, registered, settings in (
        ("optim4rl_head", "optim4rl_b", {}),
        ("optim4rl_iclr", "optim4rl_a", {}),
        ("optim4rl_iclr_mixed", "optim4rl_a", {}),
        ("linear_head", "linear", {}),
        ("linear_iclr", "linear", {}),
        ("l2lgd2_head", "l2lgd2", {}),
        ("l2lgd2_iclr_class", "l2lgd2", {"processing": "sign_log"}),
    )
    for suffix, grad_clip in (("", 1.0), ("_noclip", None))
}
COORDINATE_WISE = [n for n in l2o.list_optimizers() if l2o.make_optimizer(n).coordinate_wise]
LEARNED = {
    **{name: (name, {}) for name in COORDINATE_WISE},
    "optim4rl_a_clip": ("optim4rl_a", {"processing": "clip"}),
    "optim4rl_a_fourier": ("optim4rl_a", {"processing": "fourier"}),
}
EVERY = [*LEARNED, *list_classical()]
NESTED = {"w": (3, 2), "inner": {"b": (2,), "s": ()}, "none": (0,), "absent": None}
STEPS = 6
SCHEDULE = optax.exponential_decay(0.1, 1, 0.5)
# Compiling is what takes time here; unoptimised code compiles in two thirds of it.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def learned(name):
    """Return a learned optimizer of LEARNED and random meta-parameters (no compilation)."""
    registered, settings = LEARNED[name]
    optimizer = l2o.make_optimizer(registered, **settings)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    return optimizer, jax.tree.map(
        lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(leaf.dtype), shapes
    )


def make(name, learning_rate=0.01, **hyperparameters):
    """Build any optimizer of EVERY."""
    if name not in LEARNED:
        return classical(name, learning_rate, **hyperparameters)
    optimizer, meta = learned(name)
    return dataclasses.replace(optimizer, **hyperparameters).transform(meta, learning_rate)


def tree(seed=0, steps=()):
    """Return a nested tree of normal numbers, with leading axes ``steps``."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=(*steps, *shape)).astype(np.float32),
        NESTED,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def ravel(tree, lead=0):
    leaves = [np.reshape(leaf, (*leaf.shape[:lead], -1)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=-1)


def run(jobs):
    """Run ``{label: (transformation, parameters, gradients [steps, ...])}`` in one program.

    Returns the updates ``[steps, ...]`` by label.
    """

    def step(carry, grads):
        out = {}
        for label, (tx, *_) in jobs.items():
            params, state = carry[label]
            updates, state = tx.update(grads[label], state, params)
            carry = carry | {label: (optax.apply_updates(params, updates), state)}
            out[label] = updates
        return carry, out

    def scan(params, grads):
        carry = {label: (p, jobs[label][0].init(p)) for label, p in params.items()}
        return jax.lax.scan(step, carry, grads)[1]

    params, grads = ({label: job[i] for label, job in jobs.items()} for i in (1, 2))
    return jax.device_get(jit(scan)(params, grads))


@functools.cache
def contract(name):
    """Run an optimizer in the ways that optax offers, all in one program."""
    params, grads = tree(), tree(1, (STEPS,))
    flat, flat_grads = ravel(params), ravel(grads, 1)
    pairs = np.concatenate([flat_grads.reshape(3, 2, -1).mean(axis=1), 0 * flat_grads[:3]])
    broken = np.insert(flat_grads[:-1], 3, np.nan, axis=0)
    half = {"half": np.full(3, 0.25, jnp.bfloat16), "single": np.full(2, 0.25, np.float32)}
    two, two_grads = {"a": flat, "b": flat}, {"a": flat_grads, "b": flat_grads}
    tx = make(name)
    partition = {"on": tx, "off": optax.set_to_zero()}
    halves = jax.tree.map(lambda x: np.stack([x] * STEPS), half)
    jobs = {
        "nested": (tx, params, grads),
        "flat": (tx, flat, flat_grads),
        "unit": (make(name, 1.0), flat, flat_grads),
        "schedule": (
            optax.chain(optax.identity(), make(name, SCHEDULE), optax.scale(2.0)),
            flat,
            flat_grads,
        ),
        "pairs": (tx, flat, pairs),
        "multi": (optax.MultiSteps(tx, every_k_schedule=2), flat, flat_grads),
        "partition": (optax.partition(partition, {"a": "on", "b": "off"}), two, two_grads),
        "masked": (optax.masked(tx, {"a": True, "b": False}), two, two_grads),
        "injected": (
            optax.inject_hyperparams(lambda learning_rate: make(name, learning_rate))(SCHEDULE),
            flat,
            flat_grads,
        ),
        "if_finite": (optax.apply_if_finite(tx, 2), flat, broken),
        "dtypes": (tx, half, halves),
        "clip": (make(name, grad_clip=1.0), flat, 30 * flat_grads),
        "no_clip": (make(name, grad_clip=None), flat, 30 * flat_grads),
        "by_hand": (make(name, grad_clip=None), flat, np.clip(30 * flat_grads, -1, 1)),
    }
    return run(jobs)


def assert_close(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


# Reference vectors


@functools.cache
def derivative_of(optimizer):
    """Return the function behind a reference: loss, updates and states, and the derivatives."""

    def loss(meta, grads, cotangent):
        tx = optimizer.transform(meta, learning_rate=RATE)

        def step(state, g):
            updates, state = tx.update(g, state)
            return state, (updates, state.hidden)

        _, (updates, hidden) = jax.lax.scan(step, tx.init(grads[0]), grads)
        return jnp.vdot(updates, cotangent), (updates, hidden)

    # Compiled as in use: unoptimised code rounds up to 3e-6 off, where a gate is nearly closed.
    return jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True),
        compiler_options=options(level=3),
    )


@functools.cache
def reference(name):
    """Return what is stored, and what we compute: updates, hidden states, two derivatives."""
    registered, settings = REFERENCES[name]
    with np.load(GOLDEN / f"{name}.npz") as file:
        stored = dict(file)
    layout = json.loads(str(stored["layout"]))
    meta, stored["metagrad"] = (
        l2o.import_weights("optim4rl", registered, cut(stored[key], layout))
        for key in ("meta", "metagrad")  # derivatives are named and shaped as what they are of
    )
    derivative = derivative_of(l2o.make_optimizer(registered, **settings))
    computed = derivative(meta, stored["grads"], stored["cotangent"])
    (_, (updates, hidden)), (metagrad, d_grads) = jax.device_get(computed)
    hidden = np.stack(jax.tree.leaves(hidden)).transpose(1, 0, 3, 2)  # [step, GRU, parameter, unit]
    return stored, updates, hidden, metagrad, d_grads


@pytest.mark.parametrize("name", REFERENCES)
def test_reference(name):
    stored, updates, hidden, metagrad, d_grads = reference(name)
    atol = 2e-7 if name.startswith("linear") else 1e-8  # its additive output crosses zero
    np.testing.assert_allclose(updates, stored["updates"], rtol=2e-4, atol=atol)
    np.testing.assert_allclose(hidden[-1], stored["hidden"], rtol=0, atol=2e-6)
    scale = float(optax.tree.norm(stored["metagrad"]))
    assert_close(metagrad, jax.device_get(stored["metagrad"]), rtol=0, atol=1e-4 * scale)
    assert not d_grads.any()  # gradients are inputs: nothing flows back through them


@pytest.mark.skipif(not COMPLETE.is_dir(), reason=f"{COMPLETE} with every hidden state is absent")
@pytest.mark.parametrize("name", REFERENCES)
def test_reference_hidden_states_of_every_step(name):
    stored, _, hidden, *_ = reference(name)
    with np.load(COMPLETE / f"{name}.npz") as file:
        leaves = sorted(key.removeprefix("grads/") for key in file if key.startswith("grads/"))
        cells = sorted({key.rsplit("/", 1)[1] for key in file if key.startswith("hidden/")})
        wanted = [
            np.concatenate([file[f"hidden/{x}/{cell}"].reshape(20, -1, 8) for x in leaves], axis=1)
            for cell in cells
        ]
        grads = np.concatenate([file[f"grads/{x}"].reshape(20, -1) for x in leaves], axis=1)
    np.testing.assert_array_equal(grads, stored["grads"])
    np.testing.assert_allclose(hidden, np.stack(wanted, axis=1), rtol=0, atol=2e-6)


def test_reference_exercises_both_gate_values():
    for name in ("optim4rl_iclr_mixed", "optim4rl_iclr_mixed_noclip"):
        with np.load(GOLDEN / f"{name}.npz") as file:
            closed = np.mean(file["updates"][file["grads"] != 0] == 0)
        assert 0.3 < closed < 0.6


# The recurrent core


def plain_gru(params, h, x):
    """The flax GRUCell equations, feature-major."""
    w, b, u = (jnp.split(params[k], 3) for k in ("w_in", "b_in", "w_rec"))
    reset, update = (
        jax.nn.sigmoid(w[i] @ x + b[i][:, None] + u[i] @ h)
        for i in (0, 1)  # reset, update
    )
    n = jnp.tanh(w[2] @ x + b[2][:, None] + reset * (u[2] @ h + params["b_rec"][:, None]))
    return (1 - update) * n + update * h


@pytest.mark.parametrize(("inputs", "differentiable"), [(1, 0), (2, 0), (5, 2)])
def test_gru_derivative_is_that_of_its_equations(inputs, differentiable):
    rng = np.random.default_rng(inputs)
    shapes = {"w_in": (18, inputs), "b_in": (18,), "w_rec": (18, 6), "b_rec": (6,)}
    params = {name: rng.normal(scale=0.6, size=shape) for name, shape in shapes.items()}
    h, c = rng.normal(size=(2, 2, 6, 11)).astype(np.float32)
    x = rng.normal(size=(2, inputs, 11))
    params, x = jax.tree.map(np.float32, (params, x))

    def through(cell, c):  # two steps, so that the hidden state's cotangent is used
        return lambda params, h, x: jnp.vdot(cell(params, cell(params, h, x[0]), x[1]), c)

    def our_gru(params, h, x):
        return gru(params, h, x, differentiable)

    def both(h, c):
        args = (params, h, x)
        cells = (our_gru, plain_gru)
        return [jax.value_and_grad(through(cell, c), (0, 1, 2))(*args) for cell in cells]

    (ours, (*d_ours, d_x)), (plain, (*d_plain, d_x_plain)) = jit(jax.vmap(both))(h, c)
    assert_close((ours, d_ours), (plain, d_plain), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        d_x[:, :, :differentiable], d_x_plain[:, :, :differentiable], rtol=1e-4, atol=1e-5
    )
    assert not d_x[:, :, differentiable:].any()  # the others are constants


def test_mlp():
    rng = np.random.default_rng(0)
    w1, b1, w2, b2, x = (rng.normal(size=s) for s in [(5, 3), (5,), (2, 5), (2,), (3, 4)])
    want = w2 @ np.maximum(w1 @ x + b1[:, None], 0) + b2[:, None]
    layers = [{"w": jnp.asarray(w1), "b": jnp.asarray(b1)}, {"w": jnp.asarray(w2), "b": b2}]
    np.testing.assert_allclose(mlp(layers, jnp.asarray(x)), want, rtol=1e-5)


@functools.cache
def untrained():
    """Return form B and four untrained initialisations of it."""
    optimizer = l2o.make_optimizer("optim4rl_b")
    return optimizer, jit(jax.vmap(optimizer.init_meta))(jax.random.split(jax.random.key(0), 4))


def test_initial_meta_parameters():
    _, meta = untrained()
    for gru_, mlp_ in (("gru1", "mlp1"), ("gru2", "mlp2")):
        cells = meta[gru_]
        for recurrent in np.split(cells["w_rec"][0], 3):
            np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(8), atol=1e-5)
        assert not cells["b_in"].any() and not cells["b_rec"].any()
        assert len(np.unique(cells["w_in"])) == cells["w_in"].size  # no key is used twice
        assert 0.5 < cells["w_in"].std() < 1.5  # LeCun normal, one input
        assert 0.2 < meta[mlp_][0]["w"].std() < 0.55 and not meta[mlp_][0]["b"].any()
    assert not jnp.allclose(meta["gru1"]["w_rec"], meta["gru2"]["w_rec"])


@pytest.mark.parametrize("name", LEARNED)
def test_meta_parameters_are_float32(name):
    assert {leaf.dtype for leaf in jax.tree.leaves(learned(name)[1])} == {np.dtype("float32")}


# Gradient processing


def test_processing():
    g = jnp.array([-10.0, -1e-6, 0.0, 1e-30, 0.5])
    assert processing.clip(g, None) is g
    np.testing.assert_array_equal(processing.clip(g, 1.0), [-1, g[1], 0, g[3], 0.5])
    sign, log = processing.sign_log(g)
    np.testing.assert_array_equal(sign, [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(log, np.log(np.abs(np.asarray(g, float)) + 1e-18), rtol=1e-6)
    first, second = processing.log_scaled(g)
    np.testing.assert_allclose(first, [0.1 * np.log(10), -1, -1, -1, 0.1 * np.log(0.5)], rtol=1e-5)
    np.testing.assert_allclose(second, [-1, -1e-6 * np.exp(10), 0, 0, 1], rtol=1e-5, atol=1e-20)


@pytest.mark.parametrize("name", EVERY)
def test_grad_clip(name):
    got = contract(name)
    np.testing.assert_allclose(got["clip"], got["by_hand"], rtol=1e-5, atol=1e-9)
    if name != "sign":
        assert not np.allclose(got["clip"], got["no_clip"], rtol=1e-3)


def test_untrained_form_b_is_sign_descent():
    optimizer, metas = untrained()
    rng = np.random.default_rng(0)
    grads = (10.0 ** rng.uniform(-6, 0, 500) * rng.normal(size=(20, 500))).astype(np.float32)

    def updates_of(meta):
        tx = optimizer.transform(meta, RATE)
        return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], tx.init(grads[0]), grads)[1]

    for updates in jax.device_get(jit(jax.vmap(updates_of))(metas)):
        np.testing.assert_array_equal(np.sign(updates), -np.sign(grads))
        size = np.abs(updates) / RATE
        assert 0.5 < np.median(size) < 2 and size.min() > 0.1 and size.max() < 10
        assert np.corrcoef(updates.ravel(), -np.sign(grads).ravel())[0, 1] > 0.95


# The optax contract


@pytest.mark.parametrize("name", EVERY)
def test_state_is_stable_donatable_and_unknown_extra_arguments_are_ignored(name):
    tx, params = make(name), jax.tree.map(jnp.asarray, tree())
    state, grads = tx.init(params), jax.tree.map(lambda g: g[0], tree(1, (STEPS,)))
    signature = lambda x: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), x)  # noqa: E731
    before = signature(state)

    @functools.partial(jit, donate_argnums=0)
    def update(state, grads, params, loss):
        return tx.update(grads, state, params, loss=loss, nobody_knows="this")

    updates, after = update(state, grads, params, 0.5)
    assert signature(after) == before
    assert signature(updates) == signature(params)
    first = jax.tree.map(lambda u: u[0], contract(name)["nested"])
    assert_close(jax.device_get(updates), first, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_dtypes_of_leaves_are_kept(name):
    updates = contract(name)["dtypes"]
    assert updates["half"].dtype == jnp.bfloat16 and updates["single"].dtype == np.float32
    np.testing.assert_allclose(
        updates["half"][:, :2].astype(np.float32), updates["single"], rtol=0.03
    )


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("empty", [{}, (), {"a": None}])
def test_empty_tree(name, empty):
    tx = make(name)
    updates, state = tx.update(empty, tx.init(empty), empty)
    assert updates == empty
    tx.update(empty, state, empty)


@pytest.mark.parametrize("name", COORDINATE_WISE)
def test_nested_tree_is_updated_as_one_flat_vector(name):
    got = contract(name)
    np.testing.assert_allclose(ravel(got["nested"], 1), got["flat"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_learning_rate_may_be_a_number_or_a_schedule_in_a_chain(name):
    got = contract(name)
    steps = 1 if name == "adamw" else STEPS  # its weight decay follows the parameters
    np.testing.assert_allclose(got["flat"][:steps], 0.01 * got["unit"][:steps], rtol=1e-4)
    rates = 2 * 0.1 * 0.5 ** np.arange(steps)[:, None]
    np.testing.assert_allclose(got["schedule"][:steps], rates * got["unit"][:steps], rtol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_learning_rate_may_be_traced(name):
    g = np.array([0.5, -0.1], np.float32)
    update = lambda rate: make(name, rate).update(g, make(name, rate).init(g), g)[0]  # noqa: E731
    slow, fast = jit(jax.vmap(update))(np.array([0.01, 0.02], np.float32))
    np.testing.assert_allclose(2 * slow, fast, rtol=1e-5)
    assert fast.any()


@pytest.mark.parametrize("name", EVERY)
def test_multi_steps(name):
    got = contract(name)
    assert not got["multi"][::2].any()
    np.testing.assert_allclose(got["multi"][1::2], got["pairs"][:3], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", EVERY)
def test_masked_and_partitioned(name):
    got = contract(name)
    for way in ("partition", "masked"):
        np.testing.assert_allclose(got[way]["a"], got["flat"], rtol=1e-5, atol=1e-9)
    assert not got["partition"]["b"].any()


@pytest.mark.parametrize("name", EVERY)
def test_inject_hyperparams_and_apply_if_finite(name):
    got = contract(name)
    steps = 1 if name == "adamw" else STEPS  # as above
    np.testing.assert_allclose(
        2 * got["injected"][:steps], got["schedule"][:steps], rtol=1e-5, atol=1e-9
    )
    assert not got["if_finite"][3].any()
    finite = np.delete(got["if_finite"], 3, axis=0)
    np.testing.assert_allclose(finite, got["flat"][:-1], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_none_leaves_stay(name):
    updates = contract(name)["nested"]
    assert updates["absent"] is None and updates["none"].shape == (STEPS, 0)


# Hyperparameters and weights


def test_sizes_follow_from_the_meta_parameters():
    """The hyperparameters of an untrained optimizer do not bind its transformation."""
    g, rng, jobs = np.float32([[0.5, -0.1, 0.0], [0.1, 0.2, 0.3]]), np.random.default_rng(0), {}
    for name, sizes in (
        ("optim4rl_a", {"hidden_size": 3, "mlp_sizes": (5,)}),
        ("optim4rl_b", {"hidden_size": 3, "mlp_sizes": (4, 2)}),
        ("linear", {"hidden_size": 3, "processing": "sign_log"}),
        ("l2lgd2", {"hidden_size": 3, "mlp_sizes": (2,)}),
    ):
        small, default = l2o.make_optimizer(name, **sizes), l2o.make_optimizer(name)
        shapes = jax.eval_shape(small.init_meta, jax.random.key(0))
        meta = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), shapes)
        jobs |= {(name, tx is small): (tx.transform(meta), g[0], g) for tx in (small, default)}
    got = run(jobs)
    for name, _ in jobs:
        np.testing.assert_array_equal(got[name, True], got[name, False])
        assert got[name, True].any()


def test_processing_that_the_meta_parameters_cannot_have():
    optimizer, meta = learned("linear")
    wrong = dataclasses.replace(optimizer, processing="sign_log").transform(meta)
    g = jnp.ones(2)
    with pytest.raises(ConfigError, match=r"'sign_log' does not fit .* width 1\."):
        wrong.update(g, wrong.init(g))


# Classical optimizers and names


def test_bank_equals_each_member():
    names = list_classical()
    params, grads = tree(), tree(1, (STEPS,))

    def one(index):
        tx = bank(names, index, 0.01)

        def step(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            return (optax.apply_updates(params, updates), state), updates

        return jax.lax.scan(step, (params, tx.init(params)), grads)[1]

    together = jax.device_get(jit(jax.vmap(one))(np.arange(len(names))))
    for i, name in enumerate(names):
        member = jax.tree.map(lambda u, i=i: u[i], together)
        assert_close(member, contract(name)["nested"], rtol=1e-4, atol=1e-8)


def test_classical_is_optax():
    params, grads = np.float32([1.0, -2.0]), np.float32([[0.5, 3.0], [-0.2, 0.1]])
    clipped = np.clip(grads, -1, 1)
    by_optax = {
        "adam": optax.adam(0.1),
        "adam_decay": optax.adam(0.1),  # at the beginning of training
        "adamw": optax.adamw(0.1),
        "lion": optax.lion(0.1, weight_decay=0.0),
        "momentum": optax.sgd(0.1, 0.9),
        "rmsprop": optax.rmsprop(0.1),
        "sgd": optax.sgd(0.1),
        "sign": optax.sign_sgd(0.1),
    }
    assert set(by_optax) == set(list_classical())
    jobs = {f"optax_{name}": (tx, params, clipped) for name, tx in by_optax.items()}
    got = run(jobs | {name: (classical(name, 0.1), params, grads) for name in by_optax})
    for name in by_optax:
        np.testing.assert_allclose(got[name], got[f"optax_{name}"], rtol=1e-6)
    np.testing.assert_allclose(got["sign"], -0.1 * np.sign(grads), rtol=1e-6)


def test_adam_decays_with_progress():
    tx, adam, g = classical("adam_decay", 0.1), classical("adam", 0.1), jnp.float32([0.5, -0.2])
    state, whole = tx.init(g), adam.init(g)
    for progress in (0.0, 0.25, 1.0):
        updates, state = tx.update(g, state, progress=progress)
        reference, whole = adam.update(g, whole)
        np.testing.assert_allclose(updates, (1 - progress) * reference, rtol=1e-6)


def test_norm_of_the_gradient_is_bounded():
    params = {"a": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}
    grads = {"a": np.float32([[3.0, 0.0], [0.3, 0.0]]), "b": np.float32([[4.0], [0.4]])}
    options = {
        "norm": {"grad_clip": None, "grad_norm_clip": 1.0},
        "both": {"grad_clip": 3.0, "grad_norm_clip": 0.5},
        "default": {},
    }
    got = run({label: (classical("sgd", 1.0, **o), params, grads) for label, o in options.items()})
    flat = {label: ravel(updates, 1) for label, updates in got.items()}
    np.testing.assert_allclose(flat["norm"], [[-0.6, 0, -0.8], [-0.3, 0, -0.4]], rtol=1e-6)
    both = 0.5 * np.array([0.5**0.5, 0, 0.5**0.5])  # (3, 0, 3) after the elementwise bound
    np.testing.assert_allclose(flat["both"], [-both, [-0.3, 0, -0.4]], rtol=1e-6)
    np.testing.assert_allclose(flat["default"], [[-1, 0, -1], [-0.3, 0, -0.4]], rtol=1e-6)
    for option in ("grad_clip", "grad_norm_clip"):
        with pytest.raises(ConfigError, match=f"{option} must be positive or None; got 0"):
            classical("sgd", 0.1, **{option: 0})


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("optim4rl", {}, "Did you mean 'optim4rl_[abm]'"),
        ("linear", {"hiden_size": 4}, "'linear'.*hiden_size"),
        (
            "optim4rl_a",
            {"processing": "raw"},
            r"must be one of \['sign_log', 'clip', .*; got 'raw'",
        ),
        ("l2lgd2", {"processing": "raw"}, r"one of \['log_scaled', 'sign_log'\]; got 'raw'"),
        ("linear", {"processing": "clip"}, r"must be one of \['raw', 'sign_log'\]; got 'clip'"),
        ("l2lgd2", {"hidden_size": 0}, "'l2lgd2'.*hidden_size.*got 0"),
        ("optim4rl_a", {"hidden_size": "8"}, "hidden_size.*got '8'"),
        ("optim4rl_b", {"mlp_sizes": 5}, "mlp_sizes.*got 5"),
        ("linear", {"mlp_sizes": [4, -1]}, r"mlp_sizes.*got \(4, -1\)"),
        ("optim4rl_b", {"grad_clip": -1.0}, "grad_clip.*got -1.0"),
        (
            "optim4rl_b",
            {"features": ["age"]},
            r"'optim4rl_b': features .*\['progress', 'dormancy'\], once each; got \('age',\)",
        ),
        (
            "optim4rl_b",
            {"features": ["progress"] * 2},
            r"once each; got \('progress', 'progress'\)",
        ),
        ("optim4rl_b", {"features": "progress"}, "features.*got 'progress'"),
    ],
)
def test_unknown_and_invalid_settings_are_refused(name, hyperparameters, message):
    kind = L2OError if not hyperparameters else ConfigError
    with pytest.raises(kind, match=message):
        l2o.make_optimizer(name, **hyperparameters)


def test_unknown_classical_optimizer():
    with pytest.raises(L2OError, match="Did you mean 'rmsprop'"):
        classical("rmsprp", 0.1)


@pytest.mark.parametrize("name", sorted(processing.PAIRS))
def test_every_processing_feeds_optim4rl(name):
    optimizer = l2o.make_optimizer("optim4rl_a", processing=name)
    meta_params = optimizer.init_meta(jax.random.key(0))
    g = jnp.asarray([-0.5, -1e-6, 0.0, 1e-12, 0.25], jnp.float32)
    features = [function(g) for function in processing.PAIRS[name]]
    assert optimizer.inputs == tuple(len(x) for x in features)
    assert all(np.isfinite(x).all() for x in features)
    # What tells magnitudes apart tells signs apart too, in the numerator alone.
    assert not np.allclose(features[0][:, 0], processing.PAIRS[name][0](-g)[:, 0])
    np.testing.assert_allclose(features[1], processing.PAIRS[name][1](-g))
    tx = optimizer.transform(meta_params, 0.1)
    updates, _ = tx.update(g, tx.init(g))
    assert np.isfinite(updates).all() and updates[0] > 0 > updates[4] and updates[2] == 0


FEATURES = {
    "none": (),
    "progress": ("progress",),
    "dormancy": ("dormancy",),
    "both": ("progress", "dormancy"),
    "turned": ("dormancy", "progress"),
}


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_features_of_form_b_are_inputs_of_both_networks(features):
    optimizer = l2o.make_optimizer("optim4rl_b", features=list(features))
    assert optimizer.inputs == (1 + len(features),) * 2
    assert optimizer.coordinate_wise == ("dormancy" not in features)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    draw = lambda x: rng.normal(scale=0.4, size=x.shape).astype(x.dtype)  # noqa: E731
    meta = jax.tree.map(draw, shapes)
    kernels, biases = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 3))
    active = np.float32([0.0, 1.0, 5.0])  # of three units: half, and two and a half, of the mean
    told = {"activations": {"bias": active, "kernel": active}}
    tx = optimizer.transform(meta, 0.1)
    state = tx.init({"bias": biases[0], "kernel": kernels[0]})
    hidden = {name: np.zeros((8, 15), np.float32) for name in ("gru1", "gru2")}
    for progress, kernel, bias in zip((0.25, 0.5), kernels, biases, strict=True):
        grads = {"bias": np.float32(bias), "kernel": np.float32(kernel)}
        updates, state = tx.update(grads, state, progress=progress, **told)
        g = np.clip(ravel(grads), -1, 1)
        rows = {"progress": np.full(15, progress), "dormancy": np.tile([0, 0.5, 2.5], 5)}
        x = [rows[name] for name in features]
        for name, first in (("gru1", g), ("gru2", g * g)):
            hidden[name] = plain_gru(meta[name], hidden[name], np.float32([first, *x]))
        b, c = (mlp(meta[f"mlp{i}"], hidden[f"gru{i}"])[0] for i in (1, 2))
        want = -0.1 * np.sign(g) * np.exp(b) / np.sqrt(np.exp(c) + 1e-8)
        np.testing.assert_allclose(ravel(updates), want, rtol=1e-4)


def test_form_b_with_features_without_weight_is_form_b():
    plain = l2o.make_optimizer("optim4rl_b")
    told = l2o.make_optimizer("optim4rl_b", features=["progress", "dormancy"])
    meta = plain.init_meta(jax.random.key(0))
    wide = told.init_meta(jax.random.key(1))
    assert wide["gru1"]["w_in"].shape == wide["gru2"]["w_in"].shape == (24, 3)
    w_in = {name: meta[name]["w_in"] for name in ("gru1", "gru2")}
    wide = meta | {
        name: meta[name] | {"w_in": jnp.pad(w, ((0, 0), (0, 2)))} for name, w in w_in.items()
    }
    g = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)}
    active = {"w": jnp.arange(4.0)}

    def update(optimizer, meta):
        tx = optimizer.transform(meta, 0.1)
        return ravel(tx.update(g, tx.init(g), progress=0.3, activations=active)[0])

    np.testing.assert_allclose(update(told, wide), update(plain, meta), rtol=1e-6)


def test_activations_that_do_not_fit_form_b():
    optimizer = l2o.make_optimizer("optim4rl_b", features=["dormancy"])
    tx = optimizer.transform(optimizer.init_meta(jax.random.key(0)))
    g = {"w": jnp.ones((2, 3))}
    with pytest.raises(ValueError, match=r"'optim4rl_b': activations of 'w' .* want \(3,\)"):
        tx.update(g, tx.init(g), activations={"w": np.ones(2)})
    with pytest.raises(ValueError, match="'optim4rl_b': no activations of w"):
        tx.update(g, tx.init(g), activations={})


@pytest.mark.parametrize("name", ["optim4rl_a", "optim4rl_b"])
def test_unit_rms_fixes_the_length_of_a_step(name):
    optimizer = l2o.make_optimizer(name, unit_rms=True)
    usual = l2o.make_optimizer(name)
    meta_params = optimizer.init_meta(jax.random.key(0))
    tree = {"a": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "b": jnp.full(5, 1e-4)}
    one, other = (
        o.transform(meta_params, 0.1).update(tree, o.transform(meta_params, 0.1).init(tree))[0]
        for o in (optimizer, usual)
    )
    flat, usual_flat = (np.concatenate([np.ravel(x) for x in t.values()]) for t in (one, other))
    np.testing.assert_allclose(np.sqrt(np.mean(flat**2)), 0.1, rtol=1e-5)
    scale = 0.1 / np.sqrt(np.mean(usual_flat**2))
    np.testing.assert_allclose(flat, scale * usual_flat, rtol=1e-5)

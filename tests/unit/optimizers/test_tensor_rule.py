"""tensor_rule: the classical rules that it contains, where it looks, and what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l2o
from l2o.errors import ConfigError
from l2o.optimizers.parts import rows
from l2o.optimizers.tensor_rule import COEFFICIENTS, FEATURES, STARTS, TensorRule, _places

STEPS, RATE = 12, 0.03


def decayed(tx):
    """Return an optax rule whose steps are multiplied by what is left of training."""

    def update(updates, state, params=None, *, progress=0.0, **extra):
        updates, state = tx.update(updates, state, params)
        return jax.tree.map(lambda u: (1 - progress) * u, updates), state

    return optax.GradientTransformationExtraArgs(tx.init, update)


ADAM = optax.scale_by_adam()
RMSPROP = optax.scale_by_adam(b1=0.0, b2=0.9)
CLASSICAL = {
    "adam": ADAM,
    "rmsprop": RMSPROP,
    "momentum": optax.trace(decay=0.9),
    "sign": optax.scale_by_sign(),
    "lamb": optax.chain(ADAM, optax.scale_by_trust_ratio()),
}
CLASSICAL |= {f"{name}_decay": decayed(tx) for name, tx in CLASSICAL.items() if name != "lamb"}


def tree_of(key):
    """Return a tree like an agent's: matrices, biases that are zero, a scalar, an empty leaf."""
    shapes = {
        "policy": {"hidden_0": {"kernel": (5, 7), "bias": (7,)}, "log_std": ()},
        "value": {"hidden_0": {"kernel": (5, 3), "bias": (3,)}, "none": (0, 2)},
    }
    leaves, structure = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(key, len(leaves))
    values = [jax.random.normal(k, shape) for k, shape in zip(keys, leaves, strict=True)]
    tree = jax.tree.unflatten(structure, values)
    tree["policy"]["hidden_0"]["bias"] = jnp.zeros(7)
    return tree


def trained(tx, learning_rate=None):
    """Return parameters after each step on fixed gradients, by leaf ``[steps, ...]``."""

    def step(carry, now):
        params, state = carry
        key, progress = now
        # Gradients of all sizes, some of them zero, as of units that are dead.
        g = jax.tree.map(lambda g: 0.3 * g * (jnp.abs(g) > 0.2), tree_of(key))
        updates, state = tx.update(g, state, params, progress=progress)
        if learning_rate is not None:
            updates = jax.tree.map(lambda u: -learning_rate * u, updates)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = tree_of(jax.random.key(0))
    times = jnp.arange(STEPS, dtype=jnp.float32) / STEPS
    keys = jax.random.split(jax.random.key(1), STEPS)
    run = jax.jit(lambda params: jax.lax.scan(step, (params, tx.init(params)), (keys, times))[1])
    return run(params)


@pytest.mark.parametrize("start", sorted(STARTS))
def test_every_start_is_the_classical_rule(start):
    optimizer = l2o.make_optimizer("tensor_rule", start=start, grad_clip=None)
    ours = trained(optimizer.transform(optimizer.init_meta(jax.random.key(2)), RATE))
    rule = optax.with_extra_args_support(CLASSICAL[start])
    theirs = trained(rule, RATE)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_other_half_of_rmsprop_is_in_it_too():
    """Without correction, as optax has it by default: the steps are large at first."""
    optimizer = TensorRule(start="rmsprop", grad_clip=None)
    meta = optimizer.init_meta(jax.random.key(2))
    meta["globals"]["correction_v"] = jnp.float32(0.0)
    theirs = trained(optax.with_extra_args_support(optax.scale_by_rms(0.9, eps=1e-16)), RATE)
    for a, b in zip(
        jax.tree.leaves(trained(optimizer.transform(meta, RATE))),
        jax.tree.leaves(theirs),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_it_is_small():
    optimizer = l2o.make_optimizer("tensor_rule")
    meta = optimizer.init_meta(jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(meta)) == 363
    state = optimizer.transform(meta).init(jnp.zeros(1000))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) <= 2 * 1024 + 5


def rough(optimizer, size=0.5):
    meta = optimizer.init_meta(jax.random.key(0))
    leaves, structure = jax.tree.flatten(meta)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    moved = [x + size * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


def test_what_it_sees_of_a_tree():
    tree = tree_of(jax.random.key(0))
    shapes = [leaf.shape for leaf in jax.tree.leaves(tree) if leaf.size]
    places = dict(zip(FEATURES[:7], _places(tree), strict=True))
    at = {shape: i for i, shape in enumerate(shapes)}
    assert places["critic"][at[5, 3]] == 1 and places["critic"][at[5, 7]] == -1
    assert places["bias"].tolist() == [float(len(shape) < 2) for shape in shapes]
    assert places["fan_in"][at[5, 7]] == pytest.approx(np.log(5) / 5)
    unknown = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(3)}
    assert (_places(unknown)[0] == 0).all()


def test_large_leaves_and_small_ones_are_worked_on_alike(monkeypatch):
    optimizer = TensorRule()
    meta, params = rough(optimizer), tree_of(jax.random.key(0))

    def run():
        tx = optimizer.transform(meta, 0.1)
        state = tx.init(params)
        for key in jax.random.split(jax.random.key(1), 3):
            updates, state = tx.update(tree_of(key), state, params, progress=0.3)
        return updates

    together = jax.jit(run)()
    monkeypatch.setattr(rows, "_LARGE", 10)
    apart = jax.jit(lambda: run())()
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_tensors_are_told_apart():
    """Equal gradients of tensors of other roles lead to other steps, once meta-trained."""
    optimizer = TensorRule()
    tx = optimizer.transform(rough(optimizer), 0.1)
    leaf = jnp.linspace(-1, 1, 15).reshape(5, 3)
    params = {
        net: {f"hidden_{i}": {"kernel": leaf} for i in range(3)} for net in ("policy", "value")
    }

    @jax.jit
    def two(params):
        state = tx.init(params)
        for progress in (0.1, 0.2):
            updates, state = tx.update(params, state, params, progress=progress, batch_progress=0.5)
        return updates

    steps = [np.asarray(u).ravel() for u in jax.tree.leaves(two(params))]
    for i, a in enumerate(steps):
        assert np.isfinite(a).all()
        for b in steps[:i]:
            assert np.abs(a - b).max() > 1e-4


@functools.cache
def one_step():
    optimizer = TensorRule()

    @jax.jit
    def run(meta, scale, progress, batch_progress):
        params = tree_of(jax.random.key(0))
        tx = optimizer.transform(meta, 0.1)
        state = tx.init(params)
        for key in jax.random.split(jax.random.key(3), 3):
            g = jax.tree.map(lambda g: 1e-3 * scale * g, tree_of(key))
            updates, state = tx.update(
                g, state, params, progress=progress, batch_progress=batch_progress
            )
        return updates

    return rough(optimizer), run


def test_the_scale_of_the_loss_does_not_matter_where_the_denominator_is_learned():
    meta, run = one_step()
    meta = meta | {"constants": meta["constants"].at[5].set(1 / COEFFICIENTS["scale_power"])}
    meta["output"] = meta["output"].at[5].set(0.0)  # V^1 exactly
    meta["globals"] = meta["globals"] | {"log_eps": jnp.float32(-60.0)}
    small, large = run(meta, 1.0, 0.5, 0.5), run(meta, 30.0, 0.5, 0.5)
    for a, b in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("told", [(0.9, 0.5), (0.5, 1.0)])
def test_it_reads_where_training_and_the_batch_are(told):
    meta, run = one_step()
    before, after = run(meta, 1.0, 0.5, 0.5), run(meta, 1.0, *told)
    changes = [
        np.abs(a - b).max() / np.abs(a).max()
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if np.any(a)
    ]
    assert len(changes) == 4 and min(changes) > 1e-3


def test_its_meta_gradient_is_finite_where_gradients_are_zero():
    optimizer = TensorRule()
    meta = rough(optimizer, 0.1)

    @jax.jit
    @jax.grad
    def gradient(meta):
        tx, params = optimizer.transform(meta, 0.1), tree_of(jax.random.key(0))
        state = tx.init(params)
        for scale in (0.0, 1.0, 0.0):
            g = jax.tree.map(lambda g, scale=scale: scale * g, tree_of(jax.random.key(1)))
            updates, state = tx.update(g, state, params, progress=0.5)
            params = optax.apply_updates(params, updates)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    found = gradient(meta)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found["output"]))


def test_an_unknown_start_is_refused():
    with pytest.raises(ConfigError, match=r"unknown start 'adm'\. Did you mean 'adam'"):
        l2o.make_optimizer("tensor_rule", start="adm")

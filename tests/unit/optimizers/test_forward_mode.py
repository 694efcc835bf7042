"""Derivatives of all modes and orders agree: forward, reverse, one over the other, under vmap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from every import LEARNED, assert_close, meta_of

from l2o.optimizers import base
from l2o.optimizers.parts import packing
from l2o.optimizers.parts.linear_maps import linear_map
from l2o.optimizers.parts.recurrent import _gates, gru, init_gru

pytestmark = pytest.mark.long


def data():
    rng = np.random.default_rng(0)
    params = {"critic": {"w": rng.normal(size=(3, 2))}, "b": rng.normal(size=2)}
    return jax.tree.map(np.float32, params)


def loss(params):
    return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(params))


def final(optimizer, meta, rate):
    """Return a loss after two steps."""
    tx, params = optimizer.transform(meta, rate), data()
    state = tx.init(params)
    for _ in range(2):
        updates, state = tx.update(jax.grad(loss)(params), state, params, value=loss(params))
        params = optax.apply_updates(params, updates)
    return loss(params)


def like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.float32(rng.normal(size=np.shape(x))), tree)


def dot(a, b):
    return sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("name", LEARNED)
def test_forward_mode_agrees_with_reverse_mode(name):
    optimizer, meta = meta_of(name)
    function = functools.partial(final, optimizer)
    at, along = (meta, np.float32(0.01)), (like(meta, 1), np.float32(1))
    zeros = jax.tree.map(jnp.zeros_like, along)

    @jax.jit
    def derive(at, along):
        forward = lambda *d: jax.jvp(function, at, d)[1]  # noqa: E731
        by_both = forward(along[0], zeros[1]), forward(zeros[0], along[1])
        return by_both, jax.grad(function, argnums=(0, 1))(*at)

    (by_meta, by_rate), (d_meta, d_rate) = derive(at, along)
    assert by_meta != 0 or name == "open"
    assert_close((by_meta, by_rate), (dot(d_meta, along[0]), d_rate), rtol=2e-3, atol=1e-6)


def blocks(monkeypatch, size=5):
    monkeypatch.setattr(base, "_LARGE", 1)
    monkeypatch.setattr(base, "_BLOCK", size)


@pytest.mark.parametrize("name", ["optim4rl_b", "optim4rl_m"])
def test_forward_mode_in_blocks(name, monkeypatch):
    optimizer, meta = meta_of(name)
    along = like(meta, 1)
    forward = lambda: jax.jvp(lambda m: final(optimizer, m, 0.01), (meta,), (along,))  # noqa: E731
    whole = forward()
    blocks(monkeypatch)
    assert_close(forward(), whole, rtol=1e-4)


def test_forward_mode_of_many_elements(monkeypatch):
    optimizer, meta = meta_of("small_fc")
    along = like(meta, 1)
    forward = lambda: jax.jvp(lambda m: final(optimizer, m, 1.0), (meta,), (along,))  # noqa: E731
    looked_up = forward()
    monkeypatch.setattr(packing, "_INDEXED", 0)
    assert_close(forward(), looked_up, rtol=1e-4)


# The recurrent cell, and linear functions, in all compositions


def plain_gru(params, h, x):
    _, update, _, candidate = _gates(params, h, x)
    return candidate + update * (h - candidate)


def modes(cell):
    """Return derivatives by all arguments: of both modes, of second order, and of a batch."""
    params, rng = init_gru(jax.random.key(0), 2, 3), np.random.default_rng(0)
    h, x = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 5), (2, 5)))
    args = (params, h, x)
    along, every = like(args, 1), (0, 1, 2)

    def value(*args):
        return jnp.sum(jnp.sin(cell(*args)))

    def norm(*args):
        return sum(jnp.sum(d * d) for d in jax.tree.leaves(jax.grad(value, every)(*args)))

    def of_batch(params, h, x):
        return jnp.sum(jax.vmap(value, (None, 1, None))(params, jnp.stack([h, 2 * h], 1), x))

    def of_steps(params, h, x):
        step = lambda h, _: (cell(params, h, x), h)  # noqa: E731
        return jnp.sum(jax.lax.scan(jax.checkpoint(step), h, length=3)[1] ** 2)

    return {
        "forward": jax.jvp(value, args, along),
        "reverse": jax.grad(value, every)(*args),
        "reverse over reverse": jax.grad(norm, every)(*args),
        "forward over reverse": jax.jvp(norm, args, along),
        "reverse over forward": jax.grad(lambda *a: jax.jvp(value, a, along)[1], every)(*args),
        "reverse of a batch": jax.grad(of_batch, every)(*args),
        "forward of a batch": jax.jvp(of_batch, args, along),
        "batch of reverses": jax.vmap(jax.grad(value, every), (None, 0, None))(
            params, jnp.stack([h, 2 * h]), x
        ),
        "steps": jax.grad(of_steps, every)(*args),
        "Jacobian": jax.jacfwd(lambda h: cell(params, h, x))(h),
    }


def test_the_cell_has_derivatives_of_all_modes():
    ours = jax.jit(lambda: modes(lambda *args: gru(*args, 2)))()
    wanted = jax.jit(lambda: modes(plain_gru))()
    for mode in ours:
        assert_close(ours[mode], wanted[mode], rtol=2e-3, atol=2e-5)


def test_a_linear_map_uses_its_own_transpose():
    """One that is marked: reverse mode, of a value and of a batch, goes through it alone."""
    double = lambda x: linear_map(lambda a, x: a * x, lambda a, c: 100 * c, 2.0, x)  # noqa: E731
    assert double(3.0) == 6 and jax.jvp(double, (3.0,), (1.0,)) == (6, 2)
    assert jax.grad(double)(3.0) == 100
    batch = jax.grad(lambda x: jnp.sum(jax.vmap(double)(x)))(jnp.ones(3))
    np.testing.assert_array_equal(batch, np.full(3, 100))
    shared = jax.grad(lambda x: jnp.sum(jax.vmap(lambda a: a * double(x))(jnp.ones(3))))(1.0)
    assert shared == 300
    by_fixed = lambda a: linear_map(lambda a, x: a * a * x, lambda a, c: a * a * c, a, 3.0)  # noqa: E731
    assert jax.grad(by_fixed)(2.0) == 12

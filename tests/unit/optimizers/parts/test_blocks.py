"""Block-by-block evaluation against evaluation of the whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import l2o
from l2o.optimizers import base
from l2o.optimizers.parts.blocks import in_blocks

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def problem():
    """Return a direction, meta-parameters, hidden state, gradients and cotangents for P = 23."""
    optimizer = l2o.make_optimizer("optim4rl_a", hidden_size=3, mlp_sizes=(4,))
    clock = base.Clock(jnp.float32(0), jnp.float32(0))
    direction = functools.partial(optimizer.direction, clock=clock)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    draw = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32)  # noqa: E731
    hidden = jax.tree.map(draw, optimizer.init_hidden(shapes, 23))
    g = draw(jnp.zeros(23))
    return direction, jax.tree.map(draw, shapes), hidden, g, (jax.tree.map(draw, hidden), draw(g))


def evaluate(function, problem):
    """Return values, and derivatives with respect to meta-parameters and hidden state."""
    _, meta, hidden, g, cotangents = problem

    def run(meta, hidden, g, cotangents):
        out, vjp = jax.vjp(lambda meta, hidden: function(meta, hidden, g), meta, hidden)
        return out, vjp(cotangents)

    return jit(run)(meta, hidden, g, cotangents)


@pytest.fixture(scope="module")
def whole(problem):
    return evaluate(problem[0], problem)


@pytest.mark.parametrize("size", [5, 23], ids=["with a rest", "one block"])
def test_blocks_give_what_the_whole_gives(problem, whole, size):
    blocked = evaluate(functools.partial(in_blocks, problem[0], size), problem)
    assert jax.tree.structure(blocked) == jax.tree.structure(whole)
    for ours, theirs in zip(jax.tree.leaves(blocked), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_the_agent_gradient(problem):
    direction, meta, hidden, g, _ = problem
    step = lambda g: in_blocks(direction, 8, meta, hidden, g)[1].sum()  # noqa: E731
    np.testing.assert_array_equal(jit(jax.grad(step))(g), np.zeros(23))


def test_the_state_is_replaced_in_place(problem):
    """Beside the donated state, blocks need little memory."""
    direction, meta, hidden, *_ = problem
    size = 40_000
    zeros = jax.tree.map(lambda leaf: jnp.zeros((len(leaf), size)), hidden)
    args = (meta, zeros, jnp.zeros(size))
    blocked = jit(functools.partial(in_blocks, direction, 1000), donate_argnums=(1, 2))
    memory = blocked.lower(*args).compile().memory_analysis()
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(args[1:]))
    assert memory.alias_size_in_bytes >= state
    assert memory.temp_size_in_bytes < 0.3 * state


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("optim4rl_b", {}),
        ("optim4rl_b", {"features": ["progress", "dormancy"]}),
        ("optim4rl_m", {}),
    ],
)
def test_large_networks_are_updated_alike(name, settings, monkeypatch):
    """What is chosen by size makes no difference: what else is told, too, reaches every block."""
    optimizer, active = l2o.make_optimizer(name, **settings), jnp.linspace(0.0, 3.0, 50)
    keys = jax.random.split(jax.random.key(0), 3)
    leaves, structure = jax.tree.flatten(optimizer.init_meta(keys[0]))
    draws = [0.3 * jax.random.normal(keys[1], leaf.shape) for leaf in leaves]
    meta = structure.unflatten([leaf + draw for leaf, draw in zip(leaves, draws, strict=True)])
    g = jax.random.normal(keys[2], (3, 50))

    def total(meta):
        tx = optimizer.transform(meta)

        def step(state, gradient):
            return tx.update(gradient, state, progress=0.7, activations=active)[::-1]

        _, updates = jax.lax.scan(step, tx.init(g[0]), g)
        return jnp.sum(updates * jnp.sin(g)), updates

    def both():
        (_, updates), derivative = jit(jax.value_and_grad(total, has_aux=True))(meta)
        return updates, derivative

    whole = both()
    monkeypatch.setattr(base, "_LARGE", 1)
    monkeypatch.setattr(base, "_BLOCK", 16)
    for a, b in zip(jax.tree.leaves(both()), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())

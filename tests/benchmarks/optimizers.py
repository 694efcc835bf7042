"""Measure optimizer updates and meta-gradients: ``python tests/benchmarks/optimizers.py``.

Nanoseconds per agent parameter and step, beside the textbook form of the same mathematics: flax
``GRUCell`` on ``[parameters, hidden]``, differentiated by plain reverse mode through the unroll.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import l2o
from l2o.agents.vectorize import over_agents
from l2o.meta.replay import replay_gradient

Tree = Any


class TextbookOptim4RLB(nn.Module):
    """Form B as it is usually written, for timing only."""

    @nn.compact
    def __call__(self, hidden: tuple, g: jax.Array) -> tuple[tuple, jax.Array]:
        """Return the next hidden state and the step for gradients ``[P]``."""
        h1, _ = nn.GRUCell(8, name="gru1")(hidden[0], g[:, None])
        h2, _ = nn.GRUCell(8, name="gru2")(hidden[1], jnp.square(g)[:, None])
        b, c = nn.Dense(1, name="mlp1")(h1)[:, 0], nn.Dense(1, name="mlp2")(h2)[:, 0]
        return (h1, h2), jnp.sign(g) * jnp.exp(b) * jax.lax.rsqrt(jnp.exp(c) + 1e-8)


def seconds(function: Callable, *args: Any, repeats: int = 7) -> float:
    """Return the best run time of a compiled function."""
    compiled = jax.jit(function).lower(*args).compile()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(time.perf_counter() - start)
    return min(times)


def measure(agents: int, parameters: int, unroll: int) -> None:
    """Print one table."""
    g = jax.random.normal(jax.random.key(0), (agents, unroll, parameters)) * 0.1
    cotangent = jax.random.normal(jax.random.key(1), (agents, parameters))
    count = agents * parameters * unroll
    print(f"{agents} agents x {parameters} parameters, unroll {unroll}, {jax.devices()[0]}")

    def report(name: str, update: float, meta: float | None) -> None:
        meta_text = "" if meta is None else f"{meta / count * 1e9:14.1f}"
        print(f"{name:24s} {update / count * 1e9:12.1f} {meta_text}")

    print(f"{'ns per parameter, step':24s} {'update':>12s} {'meta-gradient':>14s}")
    report("adam", seconds(lambda g: _unrolled(optax.scale_by_adam(), g), g), None)
    for name in l2o.list_optimizers():
        optimizer = l2o.make_optimizer(name)
        meta = optimizer.init_meta(jax.random.key(2))
        update = seconds(lambda m, g, o=optimizer: _unrolled(o.transform(m), g), meta, g)
        gradient = seconds(lambda *a, o=optimizer: _replayed(o, *a), meta, g, cotangent)
        report(name, update, gradient)
    report("optim4rl_b, textbook", *_textbook(g, cotangent))


def _unrolled(tx: optax.GradientTransformation, g: jax.Array) -> jax.Array:
    """Apply an optimizer along the unroll of every agent; return the sum of the updates."""

    def one(g: jax.Array) -> jax.Array:
        def step(carry: tuple, k: jax.Array) -> tuple:
            # The gradient comes out of arithmetic, as an agent's does, not out of a slice.
            state, total, current = carry
            updates, state = tx.update(current, state, total)
            following = jax.lax.dynamic_index_in_dim(g, (k + 1) % g.shape[0], keepdims=False)
            return (state, total + updates, following), None

        start = (tx.init(g[0]), jnp.zeros_like(g[0]), g[0])
        return jax.lax.scan(step, start, jnp.arange(g.shape[0]))[0][1]

    return over_agents(one)(g)


def _replayed(optimizer: Any, meta: Tree, g: jax.Array, cotangent: jax.Array) -> Tree:
    def one(g: jax.Array, cotangent: jax.Array) -> Tree:
        params = jnp.zeros_like(cotangent)
        state = optimizer.transform(meta).init(params)
        return replay_gradient(optimizer.transform, meta, state, params, g, cotangent)

    return jax.tree.map(lambda leaf: leaf.sum(0), over_agents(one)(g, cotangent))


def _textbook(g: jax.Array, cotangent: jax.Array) -> tuple[float, float]:
    model = TextbookOptim4RLB()
    zeros = (jnp.zeros((g.shape[2], 8)),) * 2
    meta = model.init(jax.random.key(2), zeros, g[0, 0])

    def total(meta: Tree, g: jax.Array) -> jax.Array:
        def one(g: jax.Array) -> jax.Array:
            return jax.lax.scan(lambda h, g: model.apply(meta, h, g), zeros, g)[1].sum(0)

        return jax.vmap(one)(g)

    gradient = jax.grad(lambda meta, g, c: jnp.vdot(total(meta, g), c))
    return seconds(total, meta, g), seconds(gradient, meta, g, cotangent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--parameters", type=int, default=2666)
    parser.add_argument("--unroll", type=int, default=4)
    options = parser.parse_args()
    measure(options.agents, options.parameters, options.unroll)

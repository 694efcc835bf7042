"""The coordinate-wise core: a GRU and small MLPs that treat every agent parameter alike.

All arrays are feature-major, ``[features, parameters]``: one pass handles every parameter of an
agent, and elementwise work runs along the long, contiguous axis. ``tests/benchmarks/optimizers.py``
compares it with ``[parameters, features]``.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from l2o.optimizers.parts import flags
from l2o.optimizers.parts.activations import sigmoid, tanh
from l2o.optimizers.parts.linear_maps import linear_map

Tree = Any
_FEW = 8
"""Up to so many features a product is elementwise: it then joins the loop that reads it."""


def init_gru(key: jax.Array, inputs: int, hidden: int) -> Tree:
    """Initialise a GRU cell: LeCun-normal input kernels, orthogonal recurrent ones, zero biases.

    Args:
        key: Random key.
        inputs: Number of input features.
        hidden: Number of hidden units, ``H``.

    Returns:
        ``w_in [3H, inputs]``, ``b_in [3H]``, ``w_rec [3H, H]``, ``b_rec [H]`` (float32); rows are
        ordered reset gate, update gate, candidate. Only the candidate has a recurrent bias.
    """
    key_in, key_rec = jax.random.split(key)
    lecun = jax.nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    orthogonal = jax.nn.initializers.orthogonal()
    # vmap, not a loop over the three gates: each QR decomposition takes a second to compile.
    kernels = jax.vmap(lambda k: lecun(k, (hidden, inputs)))(jax.random.split(key_in, 3))
    recurrent = jax.vmap(lambda k: orthogonal(k, (hidden, hidden)))(jax.random.split(key_rec, 3))
    return {
        "w_in": kernels.reshape(3 * hidden, inputs),
        "b_in": jnp.zeros(3 * hidden),
        "w_rec": recurrent.reshape(3 * hidden, hidden),
        "b_rec": jnp.zeros(hidden),
    }


def _project(w: jax.Array, x: jax.Array) -> jax.Array:
    """Return ``w @ x``."""
    if x.shape[0] > _FEW:
        return w @ x
    outer = w[:, 0:1] * x[0]
    for i in range(1, x.shape[0]):
        outer = outer + w[:, i : i + 1] * x[i]
    return outer


def _gates(params: Tree, h: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
    """Return reset gate, update gate, the candidate's recurrent part, and candidate, ``[H, P]``."""
    n = h.shape[0]

    # Gate by gate, not all gates at once: all of it is then one loop over the parameters.
    def parts(gate: int) -> tuple[jax.Array, jax.Array]:
        rows = slice(gate * n, (gate + 1) * n)
        external = _project(params["w_in"][rows], x) + params["b_in"][rows, None]
        return external, _project(params["w_rec"][rows], h)

    reset = sigmoid(sum(parts(0)))
    update = sigmoid(sum(parts(1)))
    external, rec = parts(2)
    rec = rec + params["b_rec"][:, None]
    return reset, update, rec, tanh(external + reset * rec)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def gru(params: Tree, h: jax.Array, x: jax.Array, differentiable: int = 0) -> jax.Array:
    """Advance a GRU cell (flax ``GRUCell`` equations) for all parameters at once.

    Args:
        params: From :func:`init_gru`.
        h: Hidden state, ``[H, P]`` float32.
        x: Inputs, ``[inputs, P]`` float32.
        differentiable: How many leading inputs carry a gradient; the others are treated as
            constants. None does where all inputs are functions of agent gradients, which are
            stop-gradients.

    Returns:
        The next hidden state, ``[H, P]``.
    """
    _, update, _, candidate = _gates(params, h, x)
    return candidate + update * (h - candidate)


@gru.defjvp
@flags.under_defaults
def _gru_jvp(differentiable: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    d_params, d_h, d_x = tangents
    along = (d_params, d_h, d_x[:differentiable] if differentiable else None)
    transpose = functools.partial(_gru_transpose, differentiable)
    return gru(*primals, differentiable), linear_map(_gru_tangent, transpose, primals, along)


def _gru_tangent(primals: tuple, tangents: tuple) -> jax.Array:
    """Return the derivative along a direction; ``d_x`` is of the first inputs, or ``None``."""
    params, h, x = primals
    d_params, d_h, d_x = tangents
    reset, update, rec, candidate = _gates(params, h, x)
    w_in, w_rec = params["w_in"], params["w_rec"]
    n = h.shape[0]
    d_external = d_params["w_in"] @ x + d_params["b_in"][:, None]
    if d_x is not None:
        d_external = d_external + w_in[:, : d_x.shape[0]] @ d_x
    d_rec = d_params["w_rec"] @ h + w_rec @ d_h
    d_gates = d_external[: 2 * n] + d_rec[: 2 * n]
    d_reset = d_gates[:n] * reset * (1 - reset)
    d_update = d_gates[n:] * update * (1 - update)
    d_rec = d_rec[2 * n :] + d_params["b_rec"][:, None]
    d_candidate = (d_external[2 * n :] + d_reset * rec + reset * d_rec) * (1 - candidate**2)
    return d_candidate * (1 - update) + d_update * (h - candidate) + update * d_h


def _gru_transpose(differentiable: int, primals: tuple, cotangent: jax.Array) -> tuple:
    """Recompute the gates (cheaper than storing them), then contract over the parameter axis."""
    params, h, x = primals
    reset, update, rec, candidate = _gates(params, h, x)
    d_candidate = cotangent * (1 - update) * (1 - candidate * candidate)
    d_update = cotangent * (h - candidate) * update * (1 - update)
    d_rec = d_candidate * reset
    d_reset = d_candidate * rec * reset * (1 - reset)

    inputs = jnp.concatenate([h, x, jnp.ones_like(x[:1])])
    over_parameters = (((1,), (1,)), ((), ()))
    reset_, update_, rec_, candidate_ = (
        jax.lax.dot_general(inputs, d, over_parameters).T  # in this order it is a third cheaper
        for d in (d_reset, d_update, d_rec, d_candidate)
    )
    n = h.shape[0]
    d_params = {
        "w_rec": jnp.concatenate([reset_[:, :n], update_[:, :n], rec_[:, :n]]),
        "w_in": jnp.concatenate([reset_[:, n:-1], update_[:, n:-1], candidate_[:, n:-1]]),
        "b_in": jnp.concatenate([reset_[:, -1], update_[:, -1], candidate_[:, -1]]),
        "b_rec": rec_[:, -1],
    }
    w = params["w_rec"]
    d_h = cotangent * update + (
        w[:n].T @ d_reset + w[n : 2 * n].T @ d_update + w[2 * n :].T @ d_rec
    )
    if not differentiable:
        return d_params, d_h, None
    d_external = jnp.concatenate([d_reset, d_update, d_candidate])
    return d_params, d_h, params["w_in"][:, :differentiable].T @ d_external


def init_mlp(key: jax.Array, sizes: Sequence[int]) -> list[Tree]:
    """Initialise dense layers (LeCun-normal kernels, zero biases).

    Args:
        key: Random key.
        sizes: Input size, hidden sizes, output size.

    Returns:
        One ``{"w": [out, in], "b": [out]}`` per layer.
    """
    lecun = jax.nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    pairs = itertools.pairwise(sizes)
    return [
        {"w": lecun(k, (out, inp)), "b": jnp.zeros(out)}
        for k, (inp, out) in zip(jax.random.split(key, len(sizes) - 1), pairs, strict=True)
    ]


def mlp(params: Sequence[Tree], x: jax.Array) -> jax.Array:
    """Apply dense layers with ReLU between them: ``[in, P]`` to ``[out, P]``."""
    for i, layer in enumerate(params):
        x = layer["w"] @ (x if i == 0 else jax.nn.relu(x)) + layer["b"][:, None]
    return x

"""The recurrent optimizers of the reference implementation of Optim4RL, both releases.

Its arrays are those of flax: ``params/rnn1/ir/kernel [in, out]``, ``params/mlp1/layers_0/bias``.
Forms A and B have the networks 1 and 2, the others have one network without a number. Layers of an
MLP have even numbers, because its ReLUs are counted too.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.imports.conversion import (
    GATES,
    Arrays,
    Conversion,
    agreed_size,
    gru_cell,
    known,
    size,
)

Tree = Any


def _networks(optimizer: LearnedOptimizer) -> Iterator[tuple[str, int, int]]:
    """Yield the suffix, input width and output width of each network of an optimizer."""
    if isinstance(optimizer.inputs, tuple):
        yield "1", optimizer.inputs[0], optimizer.outputs
        yield "2", optimizer.inputs[1], 1
    else:
        yield "", optimizer.inputs, optimizer.outputs


def _shapes(optimizer: LearnedOptimizer) -> dict[str, tuple[int, ...]]:
    hidden, shapes = optimizer.hidden_size, {}
    for suffix, inputs, outputs in _networks(optimizer):
        for gate in GATES:
            shapes[f"params/rnn{suffix}/i{gate}/kernel"] = (inputs, hidden)
            shapes[f"params/rnn{suffix}/i{gate}/bias"] = (hidden,)
            shapes[f"params/rnn{suffix}/h{gate}/kernel"] = (hidden, hidden)
        shapes[f"params/rnn{suffix}/hn/bias"] = (hidden,)
        widths = (hidden, *optimizer.mlp_sizes, outputs)
        for i in range(len(widths) - 1):
            shapes[f"params/mlp{suffix}/layers_{2 * i}/kernel"] = widths[i : i + 2]
            shapes[f"params/mlp{suffix}/layers_{2 * i}/bias"] = widths[i + 1 : i + 2]
    return shapes


def _from_reference(optimizer: LearnedOptimizer, arrays: Arrays) -> Tree:
    meta_params = {}
    for suffix, *_ in _networks(optimizer):
        mlp = f"params/mlp{suffix}/layers_"
        meta_params[f"gru{suffix}"] = gru_cell(arrays, f"params/rnn{suffix}")
        meta_params[f"mlp{suffix}"] = [
            {"w": arrays[f"{mlp}{2 * i}/kernel"].T, "b": arrays[f"{mlp}{2 * i}/bias"]}
            for i in range(len(optimizer.mlp_sizes) + 1)
        ]
    return jax.tree.map(jnp.asarray, meta_params)


def _sizes(suffix: str, arrays: Arrays) -> dict[str, Any]:
    """Return hidden size and MLP sizes; a layer that is missing has what its neighbour expects."""
    gru, mlp = f"params/rnn{suffix}", f"params/mlp{suffix}/layers_"
    layers = [re.match(rf"{mlp}(\d{{1,3}})/", name) for name in arrays]
    last = max((int(match[1]) for match in layers if match), default=0)
    mlp_sizes = [
        size(arrays, f"{mlp}{i}/bias") or size(arrays, f"{mlp}{i + 2}/kernel", 0) or 1
        for i in range(0, last, 2)
    ]
    hidden = agreed_size(
        arrays, (f"{gru}/hn/bias", 0), (f"{gru}/hn/kernel", 0), (f"{gru}/hr/kernel", 1)
    )
    return known(hidden_size=hidden) | {"mlp_sizes": tuple(mlp_sizes)}


def _linear(arrays: Arrays) -> dict[str, Any]:
    sees_two = size(arrays, "params/rnn/ir/kernel", 0) == 2
    return _sizes("", arrays) | ({"processing": "sign_log"} if sees_two else {})


_TWO = Conversion(functools.partial(_sizes, "1"), _shapes, _from_reference)
_ONE = Conversion(functools.partial(_sizes, ""), _shapes, _from_reference)
CONVERSIONS = {
    "optim4rl_a": _TWO,
    "optim4rl_b": _TWO,
    "linear": _ONE._replace(hyperparameters=_linear),
    "l2lgd2": _ONE,
}

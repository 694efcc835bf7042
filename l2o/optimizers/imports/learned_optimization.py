"""Weights of google/learned_optimization (small_fc, VeLO) and of celo (Celo2).

Arrays are those of the reference's ``theta`` by '/'-joined path, for example ``nn/~/w0`` or
``rnn_params/rnn/linear/w``. Our meta-parameters have the same names but for haiku's ``~``.
"""

import re
from typing import Any

from l2o.optimizers.imports.conversion import Arrays, agreed_size, known, mirrored

_STACK = "ff_mod_stack/~/"


def haiku_name(name: str) -> str:
    """Return the reference's name of an array: haiku marks a module's own parameters with '~'."""
    module, _, rest = name.partition("/")
    return f"{module}/~/{rest}" if module in ("nn", "ff_mod_stack") else name


def mlp_hyperparameters(arrays: Arrays) -> dict[str, Any]:
    """Return the structure of small_fc or STAR."""
    layers = _hidden_layers(arrays, "nn/~/")
    hidden = [f"nn/~/{kind}{i}" for i in range(layers or 1) for kind in "wb"]
    return known(
        hidden_size=agreed_size(arrays, *((name, -1) for name in hidden)),
        hidden_layers=layers,
    )


def _celo2_hyperparameters(arrays: Arrays) -> dict[str, Any]:
    layers = _hidden_layers(arrays, _STACK)
    hidden = [f"{_STACK}w0__{i}" for i in range(14)]
    hidden += [f"{_STACK}b{i}" for i in range(layers or 1)]
    return known(
        ff_hidden_size=agreed_size(arrays, *((name, -1) for name in hidden)),
        ff_hidden_layers=layers,
    )


def _velo_hyperparameters(arrays: Arrays) -> dict[str, Any]:
    linear = [f"rnn_params/{name}/{kind}" for name in ("linear", "linear_1") for kind in "wb"]
    start = ["lstm_init_state/hidden", "lstm_init_state/cell"]
    stack = [name for name in arrays if name.startswith(_STACK)]
    return _celo2_hyperparameters(arrays) | known(
        lstm_hidden_size=agreed_size(arrays, *((name, -1) for name in [*linear, *start])),
        param_inits=agreed_size(arrays, *((name, 0) for name in stack)),
    )


def _hidden_layers(arrays: Arrays, prefix: str) -> int | None:
    """Return how many layers come before the last one, whichever arrays are missing."""
    pattern = re.compile(re.escape(prefix) + r"[wb](\d+)")
    found = [int(match[1]) for name in arrays if (match := pattern.fullmatch(name))]
    return max(found, default=None)


CONVERSIONS = {
    "small_fc": mirrored(mlp_hyperparameters, haiku_name),
    "velo": mirrored(_velo_hyperparameters, haiku_name),
    "celo2": mirrored(_celo2_hyperparameters, haiku_name),
}

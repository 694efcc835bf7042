"""What small_fc and STAR share: a small network on Adafactor features."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.bases.leaf_wise import Inputs, LeafWise
from l2o.optimizers.parts.accumulators import (
    Accumulators,
    Decays,
    accumulate,
    features,
    init_accumulators,
    normalised_features,
    time_features,
    usual_decays,
)
from l2o.optimizers.parts.feature_mlp import feature_mlp, init_feature_mlp
from l2o.optimizers.parts.packing import Packing

Tree = Any
_CHANNELS, _TIMES = 28, 11


class LearnedDecays(LeafWise):
    """Shared by small_fc and STAR: 28 normalised features, 11 of time, and learned decays."""

    outputs: ClassVar[int]
    exp_mult: float
    hidden_size: int
    hidden_layers: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_sizes("hidden_size", "hidden_layers")
        self._require_numbers("exp_mult")

    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters; the decays are their usual values."""
        hidden = [self.hidden_size] * self.hidden_layers
        decays = {f"{name}_decays": jnp.zeros(len(x)) for name, x in _named(usual_decays())}
        return {
            "nn": init_feature_mlp(key, (_CHANNELS + _TIMES, *hidden, self.outputs)),
            **decays,
        }

    def init_state(self, meta_params: Tree, at: Packing) -> Accumulators:
        """Return zero accumulators."""
        return init_accumulators(at, usual_decays())

    def step(
        self, meta_params: Tree, state: Accumulators, inputs: Inputs
    ) -> tuple[Accumulators, jax.Array]:
        """Return the next accumulators and the step."""
        g, p, at, nn = inputs.g, inputs.p, inputs.at, meta_params["nn"]
        state = accumulate(state, g, learned_decays(meta_params), at)
        x = normalised_features(features(state, g, p, at), at)
        time = time_features(inputs.count) @ nn["w0"][_CHANNELS:]  # the same for all elements
        layers = nn | {"w0": nn["w0"][:_CHANNELS], "b0": nn["b0"] + time}
        return state, self.combine(feature_mlp(layers, x, at, 2), state, inputs)

    @abc.abstractmethod
    def combine(self, o: jax.Array, state: Accumulators, inputs: Inputs) -> jax.Array:
        """Return the step, from the first two outputs of the network, ``[2, elements]``."""


def learned_decays(meta_params: Tree) -> Decays:
    """Return ``1 - (1 - usual) exp(10 d)``, all but momentum's cut to [0, 1]."""
    decays = {
        name: 1 - (np.float32(1) - usual) * jnp.exp(10 * meta_params[f"{name}_decays"])
        for name, usual in _named(usual_decays())
    }
    cut = {name: jnp.clip(decays[name], 0, 1) for name in ("rms", "adafactor")}
    return Decays(**decays | cut)


def _named(decays: Decays) -> list[tuple[str, Any]]:
    return list(decays._asdict().items())

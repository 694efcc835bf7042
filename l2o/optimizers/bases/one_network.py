"""What LinearOptim and L2LGD2 share, which have less structure than Optim4RL."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from l2o.optimizers.base import CoordinateWise, check_size
from l2o.optimizers.parts.recurrent import init_gru, init_mlp

Tree = Any


class OneNetwork(CoordinateWise):
    """A GRU followed by an MLP."""

    hidden_size: int
    mlp_sizes: tuple[int, ...]
    inputs: int
    outputs: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("hidden_size", self.hidden_size)

    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters (flax defaults: LeCun normal, orthogonal, zero)."""
        k1, k2 = jax.random.split(key)
        sizes = (self.hidden_size, *self.mlp_sizes, self.outputs)
        return {"gru": init_gru(k1, self.inputs, self.hidden_size), "mlp": init_mlp(k2, sizes)}

    def init_hidden(self, meta_params: Tree, parameters: int) -> Tree:
        """Return a zero hidden state, ``[hidden, parameters]``."""
        return jnp.zeros((meta_params["gru"]["b_rec"].shape[-1], parameters), jnp.float32)

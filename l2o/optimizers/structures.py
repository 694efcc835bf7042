"""Learned optimizers with less structure than Optim4RL: the controls for inductive bias."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from l2o.optimizers import processing
from l2o.optimizers.base import CoordinateWise
from l2o.optimizers.recurrent import gru, init_gru, init_mlp, mlp

Tree = Any


class _OneNetwork(CoordinateWise):
    """A GRU followed by an MLP."""

    hidden_size: int
    mlp_sizes: tuple[int, ...]
    inputs: int
    outputs: ClassVar[int]

    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters (flax defaults: LeCun normal, orthogonal, zero)."""
        k1, k2 = jax.random.split(key)
        sizes = (self.hidden_size, *self.mlp_sizes, self.outputs)
        return {"gru": init_gru(k1, self.inputs, self.hidden_size), "mlp": init_mlp(k2, sizes)}

    def init_hidden(self, parameters: int) -> Tree:
        """Return a zero hidden state, ``[hidden, parameters]``."""
        return jnp.zeros((self.hidden_size, parameters), jnp.float32)


@dataclasses.dataclass(frozen=True)
class LinearOptim(_OneNetwork):
    """LinearOptim: the step is ``exp(o1) g + exp(o2) o3`` with ``o = MLP(GRU(inputs))``.

    Attributes:
        processing: ``"raw"`` (the RLC 2024 release) or ``"sign_log"`` (the ICLR 2024 submission).
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of the GRU.
        mlp_sizes: Hidden sizes of the MLP.
        eps: Added inside the logarithm.
    """

    name: ClassVar[str] = "linear"
    outputs: ClassVar[int] = 3

    processing: str = "raw"
    grad_clip: float | None = 1.0
    hidden_size: int = 8
    mlp_sizes: tuple[int, ...] = ()
    eps: float = 1e-18

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processing not in ("raw", "sign_log"):
            raise ValueError(
                f"processing must be one of ['raw', 'sign_log']; got {self.processing!r}"
            )

    @property
    def inputs(self) -> int:
        """Input features of the GRU."""
        return 1 if self.processing == "raw" else 2

    def direction(self, meta_params: Tree, hidden: Tree, g: jax.Array) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step; see the class."""
        sees_raw = self.processing == "raw"
        x = processing.raw(g) if sees_raw else processing.sign_log(g, self.eps)
        hidden = gru(meta_params["gru"], hidden, x)
        o = mlp(meta_params["mlp"], hidden)
        return hidden, jnp.exp(o[0]) * g + jnp.exp(o[1]) * o[2]


@dataclasses.dataclass(frozen=True)
class L2LGD2(_OneNetwork):
    """L2LGD2 (Andrychowicz et al. 2016): the step is ``exp(o) g``, inputs are log-scaled.

    Attributes:
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of the GRU.
        mlp_sizes: Hidden sizes of the MLP.
        p: Scale of the logarithm.
        eps: Added inside the logarithm.
    """

    name: ClassVar[str] = "l2lgd2"
    outputs: ClassVar[int] = 1
    inputs: ClassVar[int] = 2

    grad_clip: float | None = 1.0
    hidden_size: int = 8
    mlp_sizes: tuple[int, ...] = ()
    p: float = 10.0
    eps: float = 1e-8

    def direction(self, meta_params: Tree, hidden: Tree, g: jax.Array) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step; see the class."""
        hidden = gru(meta_params["gru"], hidden, processing.log_scaled(g, self.p, self.eps))
        return hidden, jnp.exp(mlp(meta_params["mlp"], hidden)[0]) * g

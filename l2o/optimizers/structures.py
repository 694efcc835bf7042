"""Learned optimizers with less structure than Optim4RL: the controls for inductive bias."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from l2o.errors import ConfigError
from l2o.optimizers import processing
from l2o.optimizers.base import Clock, CoordinateWise, check_size
from l2o.optimizers.recurrent import gru, init_gru, init_mlp, mlp

Tree = Any


class _OneNetwork(CoordinateWise):
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


@dataclasses.dataclass(frozen=True)
class LinearOptim(_OneNetwork):
    """LinearOptim: the step is ``exp(o1) g + exp(o2) o3`` with ``o = MLP(GRU(inputs))``.

    Attributes:
        processing: ``"raw"`` (the RLC 2024 release) or ``"sign_log"`` (the ICLR 2024 submission).
            By default the width of the GRU's input decides, 1 or 2; untrained, it is 1.
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of the GRU.
        mlp_sizes: Hidden sizes of the MLP.
        eps: Added inside the logarithm.
    """

    name: ClassVar[str] = "linear"
    outputs: ClassVar[int] = 3
    widths: ClassVar[dict[str, int]] = {"raw": 1, "sign_log": 2}

    processing: str | None = None
    grad_clip: float | None = 1.0
    hidden_size: int = 8
    mlp_sizes: tuple[int, ...] = ()
    eps: float = 1e-18

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processing is not None:
            processing.check_name(self.processing, tuple(self.widths))

    @property
    def inputs(self) -> int:
        """Input features of an untrained GRU."""
        return self.widths[self.processing or "raw"]

    def direction(
        self, meta_params: Tree, hidden: Tree, g: jax.Array, clock: Clock
    ) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step; see the class."""
        del clock
        sees_raw = self._processing(meta_params) == "raw"
        x = processing.raw(g) if sees_raw else processing.sign_log(g, self.eps)
        hidden = gru(meta_params["gru"], hidden, x)
        o = mlp(meta_params["mlp"], hidden)
        return hidden, jnp.exp(o[0]) * g + jnp.exp(o[1]) * o[2]

    def _processing(self, meta_params: Tree) -> str:
        """Return the gradient processing for these meta-parameters."""
        columns = meta_params["gru"]["w_in"].shape[-1]
        fits = [name for name, width in self.widths.items() if width == columns]
        if not fits or self.processing not in (None, *fits):
            raise ConfigError(
                f"optimizer 'linear': processing {self.processing!r} does not fit "
                f"meta-parameters of input width {columns}."
            )
        return fits[0]


@dataclasses.dataclass(frozen=True)
class L2LGD2(_OneNetwork):
    """L2LGD2 (Andrychowicz et al. 2016): the step is ``exp(o) g`` with ``o = MLP(GRU(inputs))``.

    Attributes:
        processing: ``"log_scaled"`` (the two-branch scaling of the paper, and of the RLC 2024
            release of Optim4RL) or ``"sign_log"`` (the class in the ICLR 2024 submission).
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of the GRU.
        mlp_sizes: Hidden sizes of the MLP.
        p: Scale of the logarithm in ``"log_scaled"``.
        eps: Added inside the logarithm; by default 1e-8, or 1e-18 for ``"sign_log"``.
    """

    name: ClassVar[str] = "l2lgd2"
    outputs: ClassVar[int] = 1
    inputs: ClassVar[int] = 2

    processing: str = "log_scaled"
    grad_clip: float | None = 1.0
    hidden_size: int = 8
    mlp_sizes: tuple[int, ...] = ()
    p: float = 10.0
    eps: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        processing.check_name(self.processing, ("log_scaled", "sign_log"))

    def direction(
        self, meta_params: Tree, hidden: Tree, g: jax.Array, clock: Clock
    ) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step; see the class."""
        del clock
        if self.processing == "log_scaled":
            x = processing.log_scaled(g, self.p, 1e-8 if self.eps is None else self.eps)
        else:
            x = processing.sign_log(g, 1e-18 if self.eps is None else self.eps)
        hidden = gru(meta_params["gru"], hidden, x)
        return hidden, jnp.exp(mlp(meta_params["mlp"], hidden)[0]) * g

"""LinearOptim: a control for the structure of Optim4RL."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from l2o.errors import ConfigError
from l2o.optimizers.base import Clock
from l2o.optimizers.bases.one_network import OneNetwork
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.recurrent import gru, mlp

Tree = Any


@dataclasses.dataclass(frozen=True)
class LinearOptim(OneNetwork):
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

"""L2LGD2 (Andrychowicz et al. 2016, arXiv:1606.04474): a control for Optim4RL's structure."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from l2o.optimizers.base import Clock
from l2o.optimizers.bases.one_network import OneNetwork
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.recurrent import gru, mlp

Tree = Any


@dataclasses.dataclass(frozen=True)
class L2LGD2(OneNetwork):
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

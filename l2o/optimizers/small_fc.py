"""small_fc (Metz et al. 2022, arXiv:2203.11860): a small network on Adafactor features."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from l2o.optimizers.bases.leaf_wise import Inputs
from l2o.optimizers.bases.learned_decays import LearnedDecays
from l2o.optimizers.parts.accumulators import Accumulators


@dataclasses.dataclass(frozen=True)
class SmallFC(LearnedDecays):
    """small_fc: the step is ``step_mult o1 exp(exp_mult o2)``, with ``o`` a network's outputs.

    The step contains its own size (``step_mult``): as published, the learning rate is 1.

    Attributes:
        grad_clip: Elementwise bound on the gradient; ``None`` for none, as published.
        step_mult: Scale of the step.
        exp_mult: Scale of the second output.
        hidden_size: Units of each hidden layer.
        hidden_layers: Hidden layers of the network.
    """

    name: ClassVar[str] = "small_fc"
    outputs: ClassVar[int] = 2

    grad_clip: float | None = None
    step_mult: float = 1e-3
    exp_mult: float = 1e-3
    hidden_size: int = 4
    hidden_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("step_mult")

    def combine(self, o: jax.Array, state: Accumulators, inputs: Inputs) -> jax.Array:
        """Return the step; see the class."""
        return inputs.rate * self.step_mult * o[0] * jnp.exp(self.exp_mult * o[1])

"""STAR (Harrison et al. 2022, arXiv:2209.11208): a learned step beside a nominal one."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from l2o.optimizers.bases.leaf_wise import Inputs
from l2o.optimizers.bases.learned_decays import LearnedDecays
from l2o.optimizers.parts.accumulators import Accumulators


@dataclasses.dataclass(frozen=True)
class Star(LearnedDecays):
    """STAR: a learned step, plus the step of a nominal optimizer, plus weight decay.

    With ``o`` a network's outputs, ``m_k`` the momenta and ``v`` the average square of the
    gradient, the parameters lose ``learning_rate o1 exp(exp_mult o2)``, the nominal step
    ``nominal_stepsize exp(exp_mult) mean_k m_k / sqrt(v + 1e-6)``, and ``weight_decay`` of
    themselves. The learning rate scales the learned step alone: it is the published ``step_mult``.
    Outputs three and four, which could control the other two terms, are not used, as in the RL
    experiments of Optim4RL.

    Attributes:
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        nominal_stepsize: Step size of the nominal optimizer.
        weight_decay: Share of the parameters that a step removes.
        exp_mult: Scale of the magnitudes' logarithms.
        hidden_size: Units of each hidden layer.
        hidden_layers: Hidden layers of the network.
    """

    name: ClassVar[str] = "star"
    outputs: ClassVar[int] = 4

    grad_clip: float | None = 1.0
    nominal_stepsize: float = 1e-3
    weight_decay: float = 0.0
    exp_mult: float = 1e-3
    hidden_size: int = 4
    hidden_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_numbers("nominal_stepsize", "weight_decay")

    def combine(self, o: jax.Array, state: Accumulators, inputs: Inputs) -> jax.Array:
        """Return the step; see the class."""
        learned = inputs.rate * o[0] * jnp.exp(self.exp_mult * o[1])
        size = self.nominal_stepsize * jnp.exp(self.exp_mult)
        nominal = size * state.m.mean(0) * jax.lax.rsqrt(state.rms[0] + 1e-6)
        return learned + nominal + self.weight_decay * inputs.p

"""Celo2 (ICLR 2026, arXiv:2602.19142): a learned direction, orthogonalised, of fixed size."""

import dataclasses
import re
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.optimizers.bases.leaf_wise import Inputs, LeafWise
from l2o.optimizers.parts.accumulators import (
    GROUPS,
    Accumulators,
    Features,
    accumulate,
    features,
    init_accumulators,
    normalised,
    usual_decays,
)
from l2o.optimizers.parts.feature_mlp import feature_mlp, init_grouped_mlp, join_groups
from l2o.optimizers.parts.packing import Packing
from l2o.optimizers.parts.paths import plain_leaves

Tree = Any
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclasses.dataclass(frozen=True)
class Celo2(LeafWise):
    """Celo2: the step is a network's first output, orthogonalised and scaled to RMS 1.

    Each matrix (the last two axes of a leaf) is normalised on its own, at the network's inputs and
    outputs; leaves with one axis are not orthogonalised and have no second-moment inputs. The
    parameters lose ``learning_rate (step + weight_decay p)``: the learning rate is the published
    ``step_mult``, 0.001 there. Leaves that ``regex_1d`` finds are updated by an Adam without bias
    correction, ``learning_rate mult_1d (m / sqrt(v + adam_epsilon) + weight_decay p)``.

    Attributes:
        grad_clip: Elementwise bound on the gradient, except for Adam; ``None`` for none.
        orthogonalize: Whether leaves of two or more axes are orthogonalised.
        weight_decay: Decoupled weight decay, scaled by the learning rate.
        rms_decay: Decay of the average square of the gradient.
        ff_hidden_size: Units of each hidden layer.
        ff_hidden_layers: Hidden layers of the network.
        regex_1d: Leaves whose '/'-joined path matches anywhere go to Adam; ``None`` for none. Paths
            are without what only a host library puts there, such as ``params``; see
            :func:`~l2o.optimizers.parts.paths.plain_leaves`.
        mult_1d: Adam's learning rate, relative to the network's.
        adam_b1: Decay of Adam's momentum.
        adam_b2: Decay of Adam's second moment.
        adam_epsilon: Added to the second moment inside the root.
    """

    name: ClassVar[str] = "celo2"

    grad_clip: float | None = 1000.0
    orthogonalize: bool = True
    weight_decay: float = 0.0
    rms_decay: float = 0.95
    ff_hidden_size: int = 8
    ff_hidden_layers: int = 2
    regex_1d: str | None = None
    mult_1d: float = 20.0
    adam_b1: float = 0.9
    adam_b2: float = 0.95
    adam_epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_sizes("ff_hidden_size", "ff_hidden_layers")
        self._require_numbers("weight_decay", "mult_1d", "adam_epsilon")
        self._require_flags("orthogonalize")
        self._require_decays("rms_decay", "adam_b1", "adam_b2")
        try:
            re.compile(self.regex_1d or "")
        except (re.error, TypeError) as error:
            message = f"regex_1d must be a regular expression; got {self.regex_1d!r} ({error})"
            raise ValueError(message) from None

    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters."""
        sizes = (*[self.ff_hidden_size] * self.ff_hidden_layers, 3)
        return {"ff_mod_stack": init_grouped_mlp(key, GROUPS, sizes)}

    def _transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule
    ) -> optax.GradientTransformationExtraArgs:
        """Return the transformation of float32 trees; see :class:`LearnedOptimizer`."""
        network = super()._transform(meta_params, learning_rate)
        if self.regex_1d is None:
            return network
        pattern = re.compile(self.regex_1d)

        def labels(tree: Tree) -> Tree:
            names = [name for name, _ in plain_leaves(tree)]
            chosen = ["adam" if pattern.search(name) else "network" for name in names]
            return jax.tree.unflatten(jax.tree.structure(tree), chosen)

        adam = PlainAdam(
            self.mult_1d, self.weight_decay, self.adam_b1, self.adam_b2, self.adam_epsilon
        )
        transforms = {"network": network, "adam": adam._transform({}, learning_rate)}
        return optax.partition(transforms, labels)

    def init_state(self, meta_params: Tree, at: Packing) -> Accumulators:
        """Return zero accumulators."""
        return init_accumulators(at, usual_decays(self.rms_decay))

    def step(
        self, meta_params: Tree, state: Accumulators, inputs: Inputs
    ) -> tuple[Accumulators, jax.Array]:
        """Return the next accumulators and the step; see the class."""
        g, p, at = inputs.g, inputs.p, inputs.at
        state = accumulate(state, g, usual_decays(self.rms_decay), at)
        x = features(state, g, p, at, eps=1e-8, wide=True, vector_eps=None)
        places = zip(x, (at, at.rows, at.cols), strict=True)
        x = Features(*(normalised(x, at, at.matrices, 1e-9) for x, at in places))
        s = feature_mlp(join_groups(meta_params["ff_mod_stack"]), x, at, 1)
        if self.orthogonalize:
            s = at.join([orthogonalized(x) if x.ndim > 2 else x for x in at.split(s)])
        (s,) = normalised(s, at, at.matrices, 1e-9)
        return state, inputs.rate * (s + self.weight_decay * p)


class AdamState(NamedTuple):
    """State of Adam, ``[elements]``."""

    m: jax.Array
    v: jax.Array


@dataclasses.dataclass(frozen=True)
class PlainAdam(LeafWise):
    """Adam without bias correction, with decoupled weight decay; nothing is learned."""

    name: ClassVar[str] = "celo2"

    mult: float
    weight_decay: float
    b1: float
    b2: float
    epsilon: float
    grad_clip: float | None = None

    def init_meta(self, key: jax.Array) -> Tree:
        """Return no meta-parameters."""
        return {}

    def init_state(self, meta_params: Tree, at: Packing) -> AdamState:
        """Return zero moments."""
        return AdamState(jnp.zeros(at.size, jnp.float32), jnp.zeros(at.size, jnp.float32))

    def step(
        self, meta_params: Tree, state: AdamState, inputs: Inputs
    ) -> tuple[AdamState, jax.Array]:
        """Return the next moments and the step."""
        m = self.b1 * state.m + (1 - self.b1) * inputs.g
        v = self.b2 * state.v + (1 - self.b2) * inputs.g**2
        step = m * jax.lax.rsqrt(v + self.epsilon) + self.weight_decay * inputs.p
        return AdamState(m, v), inputs.rate * self.mult * step


def orthogonalized(x: jax.Array) -> jax.Array:
    """Push the singular values of matrices ``[..., rows, columns]`` towards 1.

    Five Newton-Schulz iterations with the coefficients of Muon (Jordan et al. 2024).
    """
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    # The tiny number, far below rounding error, keeps the root's derivative finite at zero.
    norm = jnp.sqrt(jnp.sum(x * x, (-2, -1), keepdims=True) + 1e-30)
    x = x / (norm + 1e-8)
    a, b, c = _NEWTON_SCHULZ

    def iterate(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        square = x @ x.mT
        return a * x + (b * square + c * (square @ square)) @ x, None

    x, _ = jax.lax.scan(iterate, x, length=5)
    return x.mT if tall else x

"""Optim4RL: the two published forms of the paper's learned optimizer for RL."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from l2o.optimizers.base import Clock, CoordinateWise, check_size
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.recurrent import gru, init_gru, init_mlp, mlp

Tree = Any

FEATURES = ("progress", "dormancy")
"""What form B may be told beside the gradient."""


class _TwoNetworks(CoordinateWise):
    """Shared by both forms: a GRU for the numerator and one for the denominator."""

    hidden_size: int
    mlp_sizes: tuple[int, ...]
    inputs: tuple[int, int]
    outputs: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("hidden_size", self.hidden_size)

    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters (flax defaults: LeCun normal, orthogonal, zero)."""
        k1, k2, k3, k4 = jax.random.split(key, 4)
        h, sizes = self.hidden_size, self.mlp_sizes
        return {
            "gru1": init_gru(k1, self.inputs[0], h),
            "mlp1": init_mlp(k2, (h, *sizes, self.outputs)),
            "gru2": init_gru(k3, self.inputs[1], h),
            "mlp2": init_mlp(k4, (h, *sizes, 1)),
        }

    def init_hidden(self, meta_params: Tree, parameters: int) -> Tree:
        """Return zero hidden states, two arrays ``[hidden, parameters]``."""
        return {  # two arrays: one buffer cannot be donated twice
            name: jnp.zeros((meta_params[name]["b_rec"].shape[-1], parameters), jnp.float32)
            for name in ("gru1", "gru2")
        }

    def _advance(self, meta: Tree, hidden: Tree, x1: jax.Array, x2: jax.Array) -> tuple:
        """Advance both GRUs; return the hidden state and both network outputs."""
        h1 = gru(meta["gru1"], hidden["gru1"], x1)
        h2 = gru(meta["gru2"], hidden["gru2"], x2)
        return {"gru1": h1, "gru2": h2}, mlp(meta["mlp1"], h1), mlp(meta["mlp2"], h2)


@dataclasses.dataclass(frozen=True)
class Optim4RLA(_TwoNetworks):
    """Form A (the ICLR 2024 submission): sign-log gradient processing and a learned gate.

    With ``s = sgn(g)`` and ``l = log(|g| + eps)``: ``a, b = MLP1(GRU1([s, l]))``,
    ``c = MLP2(GRU2([2 l]))``; the step is ``s * gate(tanh(a + 1)) * exp(b) / sqrt(exp(c) + eps)``,
    where the gate is 1 for a non-negative argument, else 0, with a straight-through gradient.

    Attributes:
        processing: ``"sign_log"`` as published, or what feeds the same structure instead, the
            controls for gradient processing: ``"clip"`` (the clipped gradient and its square) or
            another name in :data:`l2o.optimizers.parts.processing.PAIRS`.
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of each GRU.
        mlp_sizes: Hidden sizes of each MLP.
        eps: Added inside the logarithm and the square root.
        unit_rms: Divide the step by its root mean square over all parameters, as Celo2 does.
    """

    name: ClassVar[str] = "optim4rl_a"
    outputs: ClassVar[int] = 2

    processing: str = "sign_log"
    grad_clip: float | None = 1.0
    hidden_size: int = 8
    mlp_sizes: tuple[int, ...] = (16, 16)
    eps: float = 1e-18
    unit_rms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        processing.check_name(self.processing, ("sign_log", *processing.PAIRS))

    @property
    def inputs(self) -> tuple[int, int]:
        """Input features of the two GRUs."""
        one = jax.ShapeDtypeStruct((1,), jnp.float32)
        x1, x2 = jax.eval_shape(self._features, one)
        return x1.shape[0], x2.shape[0]

    def _features(self, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return what the GRUs of the numerator and the denominator see, ``[features, P]``."""
        if self.processing == "sign_log":
            x = processing.sign_log(g, self.eps)
            return x, 2.0 * x[1:]
        of_gradient, of_square = processing.PAIRS[self.processing]
        return of_gradient(g), of_square(g)

    def direction(
        self, meta_params: Tree, hidden: Tree, g: jax.Array, clock: Clock
    ) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step; see the class."""
        del clock
        x1, x2 = self._features(g)
        hidden, ab, c = self._advance(meta_params, hidden, x1, x2)
        q = jnp.tanh(ab[0] + 1.0)
        gate = jax.lax.stop_gradient((q >= 0).astype(q.dtype) - q) + q
        m = jnp.sign(g) * gate * jnp.exp(ab[1])
        return hidden, m / jnp.sqrt(jnp.exp(c[0]) + self.eps)


@dataclasses.dataclass(frozen=True)
class Optim4RLB(_TwoNetworks):
    """Form B (the RLC 2024 release): raw clipped gradients, one dense layer per GRU.

    ``b = Dense1(GRU1(g))``, ``c = Dense2(GRU2(g^2))``; the step is
    ``sgn(g) * exp(b) / sqrt(exp(c) + eps)``.

    Attributes:
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of each GRU.
        mlp_sizes: Hidden sizes of each MLP; none in the published form.
        eps: Added inside the square root.
        unit_rms: Divide the step by its root mean square over all parameters, as Celo2 does.
        features: Further inputs of both GRUs, as OPEN has them: ``"progress"``, the share of
            training that is over, and ``"dormancy"``, the activation of a parameter's unit over
            the mean of its layer, 1 where ``update`` gets no ``activations``.
    """

    name: ClassVar[str] = "optim4rl_b"
    outputs: ClassVar[int] = 1

    grad_clip: float | None = 1.0
    hidden_size: int = 8
    mlp_sizes: tuple[int, ...] = ()
    eps: float = 1e-8
    unit_rms: bool = False
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.features
        known = isinstance(given, tuple) and all(name in FEATURES for name in given)
        if not known or len(set(given)) < len(given):
            raise ValueError(f"features must be among {list(FEATURES)}, once each; got {given!r}")

    @property
    def inputs(self) -> tuple[int, int]:
        """Input features of the two GRUs."""
        return (1 + len(self.features),) * 2

    @property
    def coordinate_wise(self) -> bool:
        """Whether a flat vector will do: not where units have to be known."""
        return "dormancy" not in self.features

    @property
    def reads(self) -> frozenset[str]:
        """Extra arguments that have to be provided; see :class:`LearnedOptimizer`."""
        return frozenset() if self.coordinate_wise else frozenset({"activations"})

    def direction(
        self,
        meta_params: Tree,
        hidden: Tree,
        g: jax.Array,
        clock: Clock,
        dormancy: jax.Array | None = None,
    ) -> tuple[Tree, jax.Array]:
        """Return the next hidden state and the step; see the class."""
        x1, x2 = processing.raw(g), processing.raw(g * g)
        if self.features:
            values = {"progress": clock.progress, "dormancy": dormancy}
            rows = [jnp.broadcast_to(values[name], x1.shape) for name in self.features]
            x1, x2 = jnp.concatenate([x1, *rows]), jnp.concatenate([x2, *rows])
        hidden, b, c = self._advance(meta_params, hidden, x1, x2)
        m = jnp.sign(g) * jnp.exp(b[0])
        return hidden, m * jax.lax.rsqrt(jnp.exp(c[0]) + self.eps)

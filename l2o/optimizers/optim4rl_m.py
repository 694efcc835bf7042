"""Optim4RL-M: a learned optimizer that contains Adam and starts from it."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.base import Clock, CoordinateWise
from l2o.optimizers.parts.recurrent import init_mlp, mlp

Tree = Any

_TINY = 1e-36
"""Added to squares before their logarithm; its root is far below every epsilon in use."""
_SCALE = 0.1
"""Of the MLP's outputs: meta-training moves all its weights at once."""


class Averages(NamedTuple):
    """Exponential moving averages, not corrected for their start at zero."""

    gradient: jax.Array  # [momentum decays, P] float32
    square: jax.Array  # [square decays, P] float32


@dataclasses.dataclass(frozen=True)
class Optim4RLM(CoordinateWise):
    """Optim4RL-M: a learned mixture of gradient averages, over a learned mixture of magnitudes.

    Both published forms of Optim4RL scale the sign of the current gradient, so they cannot average
    noise. This one keeps exponential averages of the gradient, ``m_1, m_2, ...``, and of its
    square, ``v_1, v_2, ...``, corrected for their start at zero as in Adam; ``m_0 = g``,
    ``v_0 = g^2``, and ``v`` without index is the slowest. The step is::

        exp(s) sum_i a_i m_i / (sqrt(v) prod_j (v_j / v)^(c_j / 2) + eps)

    with ``(a, c, s) = base + MLP(x) / 10``; it may differ in sign from ``g``. The inputs ``x`` do
    not change with the sign of ``g``: logarithms of ``|m_i| / sqrt(v)``, of ``v_j / v`` and of
    ``v``, soft-clipped products of successive ``m_i``, training progress, and the logarithm of the
    age.

    Untrained it is ``optax.adam``: ``a`` picks the average with decay 0.9 and all else is zero.
    Sign descent is ``a = c = (1, 0, ...)`` and ``log_eps`` very small.

    Attributes:
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        momentum_decays: Decays of ``m_1, m_2, ...``.
        square_decays: Decays of ``v_1, v_2, ...``, the slowest last.
        mlp_sizes: Hidden sizes of the MLP.
    """

    name: ClassVar[str] = "optim4rl_m"

    grad_clip: float | None = 1.0
    momentum_decays: tuple[float, ...] = (0.5, 0.9, 0.99)
    square_decays: tuple[float, ...] = (0.9, 0.999)
    mlp_sizes: tuple[int, ...] = (8,)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("momentum_decays", "square_decays"):
            decays = getattr(self, name)
            if not decays or list(decays) != sorted(decays) or not 0 < decays[0] <= decays[-1] < 1:
                raise ValueError(f"{name} must ascend between 0 and 1; got {decays!r}")

    @property
    def _outputs(self) -> tuple[int, int]:
        """How many of ``a`` and of ``c`` there are; ``s`` is one more."""
        return 1 + len(self.momentum_decays), len(self.square_decays)

    @property
    def _inputs(self) -> int:
        a, c = self._outputs
        return a + c + 1 + (a - 1) + 2

    def init_meta(self, key: jax.Array) -> Tree:
        """Return meta-parameters that make it Adam (b1 = 0.9, b2 the slowest, eps = 1e-8)."""
        a, c = self._outputs
        base = np.zeros(a + c + 1, np.float32)
        base[1 + int(np.argmin(np.abs(np.array(self.momentum_decays) - 0.9)))] = 1.0
        layers = init_mlp(key, (self._inputs, *self.mlp_sizes, len(base)))
        layers[-1] = jax.tree.map(jnp.zeros_like, layers[-1])
        return {
            "base": jnp.asarray(base),
            "log_eps": jnp.log(jnp.float32(1e-8)),
            "mlp": layers,
        }

    def init_hidden(self, meta_params: Tree, parameters: int) -> Averages:
        """Return averages of zero."""
        del meta_params
        return Averages(
            jnp.zeros((len(self.momentum_decays), parameters), jnp.float32),
            jnp.zeros((len(self.square_decays), parameters), jnp.float32),
        )

    def direction(
        self, meta_params: Tree, hidden: Averages, g: jax.Array, clock: Clock
    ) -> tuple[Averages, jax.Array]:
        """Return the next averages and the step; see the class."""
        square = jnp.square(g)
        averages = Averages(
            _average(hidden.gradient, g, self.momentum_decays),
            _average(hidden.square, square, self.square_decays),
        )
        m = jnp.vstack([g, _corrected(averages.gradient, self.momentum_decays, clock)])
        v = jnp.vstack([square, _corrected(averages.square, self.square_decays, clock)])
        log_v = jnp.log(v + _TINY)
        log_ratio = log_v[:-1] - log_v[-1]
        x = self._features(m, v[-1], log_v[-1], log_ratio, clock)
        out = meta_params["base"][:, None] + _SCALE * mlp(meta_params["mlp"], x)
        a, c = self._outputs
        magnitude = jnp.sqrt(v[-1]) * jnp.exp(0.5 * jnp.sum(out[a : a + c] * log_ratio, axis=0))
        step = jnp.sum(out[:a] * m, axis=0) / (magnitude + jnp.exp(meta_params["log_eps"]))
        return averages, jnp.exp(out[-1]) * step

    def _features(
        self, m: jax.Array, v: jax.Array, log_v: jax.Array, log_ratio: jax.Array, clock: Clock
    ) -> jax.Array:
        """Return the inputs of the MLP, each of the order of 1, ``[features, P]``."""
        log_m = jnp.log(jnp.square(m) + _TINY) - log_v
        products = m[1:] * m[:-1] / (v + _TINY)
        age = jnp.full_like(log_v, jnp.log1p(clock.count) / 10.0)
        progress = jnp.full_like(log_v, clock.progress)
        return jnp.vstack(
            [
                jnp.maximum(log_m, -20.0) / 5.0,
                jnp.clip(log_ratio, -20.0, 20.0) / 5.0,
                jnp.maximum(log_v, -60.0) / 20.0,
                products / (1.0 + jnp.abs(products)),
                progress,
                age,
            ]
        )


def _average(old: jax.Array, new: jax.Array, decays: tuple[float, ...]) -> jax.Array:
    """Move averages ``[decays, P]`` towards ``new [P]``."""
    decay = np.array(decays, np.float32)[:, None]
    return decay * old + (1 - decay) * new


def _corrected(average: jax.Array, decays: tuple[float, ...], clock: Clock) -> jax.Array:
    """Correct averages for their start at zero."""
    decay = np.array(decays, np.float32)
    return average / (1 - decay ** (clock.count + 1))[:, None]

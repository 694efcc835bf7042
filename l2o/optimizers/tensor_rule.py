"""tensor_rule: a small network per tensor sets the coefficients of a classical rule."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.errors import unknown_name
from l2o.optimizers.bases.leaf_wise import Inputs, LeafWise
from l2o.optimizers.parts.layers import Leaf, describe
from l2o.optimizers.parts.recurrent import init_mlp
from l2o.optimizers.parts.rows import Rows

Tree = Any

COEFFICIENTS = {
    "log_step": 1.0,
    "momentum": 1.0,
    "memory": 1.0,
    "look_ahead": 0.3,
    "adaptivity": 0.3,
    "scale_power": 0.3,
    "trust": 0.1,
}
"""What the network sets per tensor, and in which unit: meta-training moves all by about one."""
GLOBALS = ("decay_power", "correction_m", "correction_v", "log_eps")
"""What is the same for all tensors and steps."""
_TINY = 1e-30
_ZERO = 1e-36  # so that a root has a derivative at zero; its own is far below every epsilon
_LONGEST = 12.0  # of an average's memory, -log(1 - decay)


def _memory(decay: float) -> float:
    return -float(np.log1p(-decay))


_ADAM = {"momentum": _memory(0.9), "memory": _memory(0.999), "adaptivity": 1.0}
_ADAM |= {"correction_m": 1.0, "correction_v": 1.0}
_RMSPROP = _ADAM | {"momentum": 0.0, "memory": _memory(0.9)}
_DECAYED = {"decay_power": 1.0}
STARTS: dict[str, dict[str, float]] = {
    "adam": _ADAM,
    "adam_decay": _ADAM | _DECAYED,
    "rmsprop": _RMSPROP,
    "rmsprop_decay": _RMSPROP | _DECAYED,
    "momentum": {"momentum": _memory(0.9), "log_step": float(np.log(10.0))},
    "momentum_decay": {"momentum": _memory(0.9), "log_step": float(np.log(10.0))} | _DECAYED,
    "sign": _RMSPROP | {"memory": 0.0, "log_eps": float(np.log(_TINY))},
    "sign_decay": _RMSPROP | {"memory": 0.0, "log_eps": float(np.log(_TINY))} | _DECAYED,
    "lamb": _ADAM | {"trust": 1.0},
}
"""Classical rules that it is untrained: the coefficients and globals that are not 0.

``rmsprop`` is bias-corrected, with decay 0.9; ``momentum`` is heavy-ball momentum with decay 0.9;
``lamb`` is Adam with a trust ratio. ``log_eps`` is that of 1e-8 where it is not given.
"""


class RuleState(NamedTuple):
    """Averages, and what is known of each leaf; arrays of elements as :class:`Rows` has them."""

    m: list[jax.Array]  # of the gradient
    v: list[jax.Array]  # of its square
    weights: jax.Array  # [2, leaves] float32, sums of the weights of the gradients in m and v
    mm: jax.Array  # [leaves] float32, mean of m^2
    v_mean: jax.Array  # [leaves] float32, mean of v


class Seen(NamedTuple):
    """Means over the elements of each leaf, ``[leaves]`` float32, before a step."""

    gg: jax.Array
    gm: jax.Array
    pp: jax.Array


@dataclasses.dataclass(frozen=True)
class TensorRule(LeafWise):
    """tensor_rule: per tensor, a network sets the step size, the memories and the denominator.

    With ``m`` and ``v`` the averages of the gradient ``g`` and of its square, both corrected for
    their start at zero, and ``V`` the mean of ``v`` over the tensor, the step is::

        (1 - progress)^k exp(s) T^t ((1 - l) m + l g) / (sqrt(a v + (1 - a) V^r) + eps)

    where ``T`` is the ratio of the norms of the parameters and of the rest of the step, and the
    averages' decays are ``1 - exp(-d)``. ``log_step`` s, ``momentum`` and ``memory`` d (of m and
    v), ``look_ahead`` l, ``adaptivity`` a, ``scale_power`` r and ``trust`` t are outputs of one
    tanh network, evaluated once per tensor, plus constants; ``decay_power`` k, eps and the
    exponents of the two corrections are meta-parameters. A parameter costs about what it costs in
    Adam.

    The network sees where the tensor is (critic or not, depth, first, last, bias, fan-in and
    fan-out), how its gradient compares with the averages, how large its parameters are, the share
    of training and of the epochs on this batch that is over, and the age; nothing that changes with
    the scale of the loss. What it does not know of a tree, or is not told, is 0.

    Untrained it is the classical rule ``start``: adam and rmsprop (bias-corrected, decay 0.9),
    momentum and sign descent, each constant or with a linear decay, and lamb.

    Attributes:
        start: One of ``STARTS``.
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        hidden_size: Units of the network.
    """

    name: ClassVar[str] = "tensor_rule"
    reads: ClassVar[frozenset[str]] = frozenset({"batch_progress"})
    packing: ClassVar[type] = Rows

    start: str = "rmsprop_decay"
    grad_clip: float | None = 1.0
    hidden_size: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_sizes("hidden_size")
        if self.start not in STARTS:
            raise ValueError(str(unknown_name("start", self.start, STARTS)).removesuffix("."))

    def init_meta(self, key: jax.Array) -> Tree:
        """Return meta-parameters that make it the classical rule; the network is silent."""
        layers = init_mlp(key, (len(FEATURES), self.hidden_size, len(COEFFICIENTS)))
        values = {"log_eps": float(np.log(1e-8))} | STARTS[self.start]
        return {
            "hidden": layers[0],
            "output": jnp.zeros_like(layers[1]["w"]),
            "constants": jnp.array(
                [values.get(name, 0.0) / unit for name, unit in COEFFICIENTS.items()], jnp.float32
            ),
            "globals": {name: jnp.float32(values.get(name, 0.0)) for name in GLOBALS},
        }

    def init_state(self, meta_params: Tree, at: Rows) -> RuleState:
        """Return averages of zero."""
        del meta_params
        zeros = jnp.zeros((4, len(at.sizes)), jnp.float32)
        return RuleState(at.zeros(), at.zeros(), zeros[:2], zeros[2], zeros[3])

    def step(
        self, meta_params: Tree, state: RuleState, inputs: Inputs
    ) -> tuple[RuleState, list[jax.Array]]:
        """Return the next averages and the step; see the class."""
        at, g = inputs.at, inputs.g
        pairs = [*zip(g, g, strict=True)], [*zip(g, state.m, strict=True)]
        pairs = (*pairs, [*zip(inputs.p, inputs.p, strict=True)])
        seen = Seen(*(at.mean([a * b for a, b in each]) for each in pairs))
        c = self._coefficients(meta_params, state, seen, inputs)
        fixed = meta_params["globals"]
        state, per_leaf = _advance(c, fixed, state, seen)
        eps = jnp.exp(fixed["log_eps"])
        m, v, u = [], [], []
        arrays = zip(g, state.m, state.v, at.spread(per_leaf), strict=True)
        for g_now, m_old, v_old, (d_m, d_v, of_m, of_g, of_v, floor) in arrays:
            m.append(d_m * m_old + (1 - d_m) * g_now)
            v.append(d_v * v_old + (1 - d_v) * g_now * g_now)
            root = jnp.sqrt(of_v * v[-1] + floor + _ZERO)
            u.append((of_m * m[-1] + of_g * g_now) / (root + eps))
        rest = jnp.maximum(1.0 - _known(inputs.progress), 1e-6) ** fixed["decay_power"]
        trust = _trust(c["trust"], at.mean([x * x for x in u]), seen.pp)
        size = at.spread((inputs.rate * rest * jnp.exp(c["log_step"]) * trust)[None])
        return state._replace(m=m, v=v), [own[0] * x for own, x in zip(size, u, strict=True)]

    def _coefficients(
        self, meta_params: Tree, state: RuleState, seen: Seen, inputs: Inputs
    ) -> dict[str, jax.Array]:
        """Return what the network sets, ``[leaves]`` each."""
        x = jax.lax.stop_gradient(_features(state, seen, inputs))
        hidden = meta_params["hidden"]
        h = jnp.tanh(hidden["w"] @ x + hidden["b"][:, None])
        out = meta_params["constants"][:, None] + meta_params["output"] @ h
        return {
            name: unit * row for (name, unit), row in zip(COEFFICIENTS.items(), out, strict=True)
        }


def _advance(
    c: dict[str, jax.Array], fixed: dict[str, jax.Array], state: RuleState, seen: Seen
) -> tuple[RuleState, jax.Array]:
    """Return the state with what is known of each leaf after a step, and numbers for the elements.

    These are the decays of m and v, the factors of m, g and v, and the floor of v, ``[6, leaves]``.
    """
    # Negative momentum is a rule too, as long as it is stable.
    d_m = -jnp.expm1(-jnp.clip(c["momentum"], -0.6, _LONGEST))
    d_v = -jnp.expm1(-jnp.clip(c["memory"], 0.0, _LONGEST))
    decays = jnp.stack([d_m, d_v])
    weights = decays * state.weights + (1 - decays)
    power = jnp.stack([fixed["correction_m"], fixed["correction_v"]])
    corrected = weights ** power[:, None]
    # Means of averages are averages of means: no element is read again for them.
    mm = d_m**2 * state.mm + (1 - d_m) * (2 * d_m * seen.gm + (1 - d_m) * seen.gg)
    v_mean = d_v * state.v_mean + (1 - d_v) * seen.gg
    adaptivity, look = jnp.clip(c["adaptivity"], 0.0, 1.0), c["look_ahead"]
    scale = jnp.exp(c["scale_power"] * jnp.log(v_mean / corrected[1] + _TINY))
    of_m, of_v = (1 - look) / corrected[0], adaptivity / corrected[1]
    numbers = jnp.stack([d_m, d_v, of_m, look, of_v, (1 - adaptivity) * scale])
    after = state._replace(weights=weights, mm=jnp.maximum(mm, 0.0), v_mean=v_mean)
    return after, numbers


def _trust(power: jax.Array, uu: jax.Array, pp: jax.Array) -> jax.Array:
    """Return the factor of each leaf, 1 where parameters or step are zero."""
    known = (uu > 0) & (pp > 0)
    ratio = jnp.log(jnp.where(known, pp, 1.0)) - jnp.log(jnp.where(known, uu, 1.0))
    return jnp.exp(power * jnp.clip(0.5 * ratio, -10.0, 10.0))


def _features(state: RuleState, seen: Seen, inputs: Inputs) -> jax.Array:
    """Return the inputs of the network, ``[features, leaves]``, each of the order of 1."""
    weight_m, weight_v = jnp.maximum(state.weights, _TINY)
    old = state.weights[1] > 0
    v = jnp.where(old, state.v_mean / weight_v, seen.gg)
    m = state.mm / jnp.square(weight_m)

    def log_ratio(a: jax.Array, b: jax.Array) -> jax.Array:
        logs = jnp.log(a + _TINY) - jnp.log(b + _TINY)
        return jnp.where(old & (b > 0), jnp.clip(0.5 * logs, -4.0, 4.0), 0.0)

    cosine = seen.gm * jax.lax.rsqrt(seen.gg * state.mm + _TINY)
    changing = [
        log_ratio(seen.gg, v),
        log_ratio(m, v),
        jnp.clip(cosine, -1.0, 1.0),
        jnp.where(seen.pp > 0, jnp.clip(0.25 * jnp.log(seen.pp + _TINY), -2.0, 2.0), 0.0),
        *(
            jnp.full_like(v, number)
            for number in (
                2 * _known(inputs.progress) - 1,
                2 * _known(inputs.batch_progress) - 1,
                jnp.log1p(inputs.count.astype(jnp.float32)) / 5 - 1,
            )
        ),
    ]
    return jnp.concatenate([_places(inputs.tree), jnp.stack(changing)])


def _places(tree: Tree) -> np.ndarray:
    """Return what is known of the place of each leaf that has elements, ``[features, leaves]``."""
    leaves = [leaf for leaf in describe(tree) if leaf.size]
    with_critic = any(leaf.critic for leaf in leaves)
    return np.array([_place(leaf, with_critic) for leaf in leaves], np.float32).T


def _place(leaf: Leaf, with_critic: bool) -> list[float]:
    *inward, outward = leaf.shape or (1,)
    return [
        (1.0 if leaf.critic else -1.0) if with_critic else 0.0,
        2 * leaf.depth - 1,
        float(leaf.depth == 0),
        float(leaf.depth == 1),
        float(len(leaf.shape) < 2),
        float(np.log(max(np.prod(inward), 1))) / 5,
        float(np.log(max(outward, 1))) / 5,
    ]


FEATURES = (
    *("critic", "depth", "first", "last", "bias", "fan_in", "fan_out"),
    *("gradient", "signal", "cosine", "size", "progress", "batch_progress", "age"),
)
"""What the network sees, in this order."""


def _known(number: jax.Array | None) -> jax.Array:
    return jnp.float32(0.0) if number is None else number

"""OPEN: a learned optimizer that knows what it trains, a reinforcement-learning agent."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.optimizers.base import (
    LearnedOptimizer,
    check_grad_clip,
    check_size,
    rate_at,
    ravel,
    require_params,
    unravel,
)
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.dormancy import dormancy
from l2o.optimizers.parts.layers import Leaf, describe
from l2o.optimizers.parts.recurrent import gru

Tree = Any

_BETAS = np.array([0.1, 0.5, 0.9, 0.99, 0.999, 0.9999], np.float32)[:, None]
_INPUTS = 19
_OUTPUTS = 3


class OPENState(NamedTuple):
    """State of OPEN for P parameters, all leaves of the tree one after another."""

    count: jax.Array  # shape=(), dtype=int32: steps taken
    momenta: jax.Array  # shape=(6, P), dtype=float32: one row per decay
    hidden: jax.Array  # shape=(gru_features, P), dtype=float32


@dataclasses.dataclass(frozen=True)
class OPEN(LearnedOptimizer):
    """OPEN (Goldie et al., *Can Learned Optimization Make RL Less Difficult?*, NeurIPS 2024).

    A GRU and a small MLP, shared by all parameters, read 19 inputs per parameter. Fifteen are
    divided by their root mean square over the leaf: the parameter, then sign and log magnitude of
    six momenta and of the gradient. Four are not: the share of training done, the depth of the
    layer, the share of the epochs on the current batch done, and the dormancy of the unit. With
    outputs ``o`` and normal noise ``e`` the step, which is subtracted, is ``u - mean(u)`` over all
    parameters of the tree, ``u = step_mult o0 exp(exp_mult o1) + step_mult o2 e``; a critic gets no
    noise.

    Networks and layers are read off the paths of the leaves; see
    :mod:`l2o.optimizers.parts.layers`. A tree without a critic is one network with noise.

    The parameters are inputs, so ``update`` needs ``params``. It reads these extra arguments:

    * ``progress``: share of training done, 0 to 1; by default 0, as at the first step.
    * ``batch_progress``: share of the epochs on the current batch done, 0 to 1; by default 0.
    * ``activations``: tree with the paths of the parameters, with the batch mean of the magnitude
      of the activation of every unit of the layer, ``[units]``, for kernel (output axis last) and
      bias alike. ``None``, whole or for a leaf, means that all units are equally active.
    * ``key``: random key of the noise. ``None`` for no noise.

    A NaN in one leaf reaches every update, through the mean.

    Attributes:
        gru_features: Units of the GRU; 16 in the larger published form.
        hidden_size: Units of each hidden layer of the MLP; 32 in the larger published form.
        grad_clip: Elementwise bound on the gradient; ``None`` for none, as published (its agents
            clip by the global norm of each network's gradient, 0.5, before).
        step_mult: Scale of the step and of the noise.
        exp_mult: Scale of the exponent.
    """

    name: ClassVar[str] = "open"
    reads: ClassVar[frozenset[str]] = frozenset({"activations", "batch_progress", "key"})
    reads_params: ClassVar[bool] = True

    gru_features: int = 8
    hidden_size: int = 16
    grad_clip: float | None = None
    step_mult: float = 1e-3
    exp_mult: float = 1e-3

    def __post_init__(self) -> None:
        check_size("gru_features", self.gru_features)
        check_size("hidden_size", self.hidden_size)
        check_grad_clip(self.grad_clip)

    def init_meta(self, key: jax.Array) -> Tree:
        """Return zeros, as published: all meta-parameters, layer-norm scales included.

        The untrained optimizer does not move the agent. Nor can a meta-gradient start from here:
        all of it is zero but that of the noise output's bias. Evolution strategies, with which
        OPEN was meta-trained, perturb all numbers at once.
        """
        del key
        features, hidden = self.gru_features, self.hidden_size
        sizes = ((hidden, features), (hidden, hidden), (_OUTPUTS, hidden))
        return {
            "gru": {
                "w_in": jnp.zeros((3 * features, _INPUTS)),
                "b_in": jnp.zeros(3 * features),
                "w_rec": jnp.zeros((3 * features, features)),
                "b_rec": jnp.zeros(features),
            },
            "dense": [{"w": jnp.zeros(shape), "b": jnp.zeros(shape[0])} for shape in sizes],
            "norm": [{"scale": jnp.zeros(hidden), "bias": jnp.zeros(hidden)} for _ in range(2)],
        }

    def _transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule
    ) -> optax.GradientTransformationExtraArgs:
        """Return the transformation; ``learning_rate`` is 1 as published."""

        def init_fn(params: Tree) -> OPENState:
            size = sum(leaf.size for leaf in jax.tree.leaves(params))
            features = meta_params["gru"]["b_rec"].shape[0]
            return OPENState(
                jnp.zeros((), jnp.int32),
                jnp.zeros((len(_BETAS), size), jnp.float32),
                jnp.zeros((features, size), jnp.float32),
            )

        def update_fn(
            updates: Tree,
            state: OPENState,
            params: Tree = None,
            *,
            progress: Any = None,
            batch_progress: Any = None,
            activations: Tree = None,
            key: jax.Array | None = None,
            **extra_args: Any,
        ) -> tuple[Tree, OPENState]:
            del extra_args
            grads, structure = jax.tree.flatten(updates)
            leaves = describe(updates)
            if not sum(leaf.size for leaf in leaves):
                return updates, state
            require_params(self.name, params)
            p = ravel(jax.tree.leaves(params))
            g = processing.clip(jax.lax.stop_gradient(ravel(grads)), self.grad_clip)
            momenta = _BETAS * state.momenta + (1 - _BETAS) * g
            shares = jax.lax.stop_gradient((progress, batch_progress))
            x = jnp.concatenate(
                [
                    _normalised(p[None], leaves),
                    _normalised(_signs_and_logs(momenta, g), leaves),
                    _context(leaves, *shares, dormancy(self.name, leaves, activations)),
                ]
            )
            # Of the inputs only the first, the parameter, depends on meta-parameters.
            hidden = gru(meta_params["gru"], state.hidden, x, 1)
            o = _head(meta_params, hidden)
            u = self.step_mult * o[0] * jnp.exp(self.exp_mult * o[1])
            if key is not None:
                u = u + self.step_mult * o[2] * _noise(key, leaves)
            rate = rate_at(learning_rate, state.count)
            steps = unravel(-rate * (u - jnp.mean(u)), grads)
            state = OPENState(optax.safe_increment(state.count), momenta, hidden)
            return jax.tree.unflatten(structure, steps), state

        return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _signs_and_logs(momenta: jax.Array, g: jax.Array) -> jax.Array:
    """Return sign and log magnitude of the momenta, then of the gradient, ``[14, P]``."""
    pairs = [processing.sign_log(x, 1e-13).reshape(-1, g.size) for x in (momenta, g)]
    return jnp.concatenate(pairs)


def _normalised(x: jax.Array, leaves: list[Leaf]) -> jax.Array:
    """Divide each row of each leaf by its root mean square."""
    parts, start = [], 0
    for leaf in leaves:
        part = x[:, start : start + leaf.size]
        square = jnp.sum(part * part, axis=1, keepdims=True) / max(leaf.size, 1)
        parts.append(part * jax.lax.rsqrt(1e-5 + square))
        start += leaf.size
    return jnp.concatenate(parts, axis=1)


def _context(
    leaves: list[Leaf], progress: Any, batch_progress: Any, active: jax.Array
) -> jax.Array:
    """Return the inputs that are not normalised, ``[4, P]``, in the reference's order."""

    def row(share: Any) -> jax.Array:
        return jnp.full(active.shape, 0.0 if share is None else share, jnp.float32)

    depth = jnp.concatenate([jnp.full(leaf.size, leaf.depth, jnp.float32) for leaf in leaves])
    return jnp.stack([row(progress), depth, row(batch_progress), active])


def _noise(key: jax.Array, leaves: list[Leaf]) -> jax.Array:
    """Return normal numbers, ``[P]``, from one key per leaf; zeros for a critic."""
    keys = jax.random.split(key, len(leaves))
    draws = [
        jnp.zeros(leaf.size)
        if leaf.critic
        else jax.random.normal(keys[leaf.rank], leaf.shape).ravel()
        for leaf in leaves
    ]
    return jnp.concatenate(draws)


def _head(meta_params: Tree, x: jax.Array) -> jax.Array:
    """Apply the MLP, ``[gru_features, P]`` to ``[3, P]``."""
    *inner, last = meta_params["dense"]
    for dense, norm in zip(inner, meta_params["norm"], strict=True):
        x = jax.nn.relu(_dense_layer_norm(dense, norm, x))
    return last["w"] @ x + last["b"][:, None]


def _dense_layer_norm(dense: Tree, norm: Tree, x: jax.Array) -> jax.Array:
    """Apply a dense layer and normalise over its units (biased variance); then scale and shift.

    Sums over units are matrix products, forward and backward, as XLA's CPU backend does not
    vectorise a reduction of the leading axis (measured: seven times slower). That of the mean is
    saved: centring the kernel and the bias centres the layer's output.
    """
    w, b = dense["w"], dense["b"]
    x = (w - jnp.mean(w, axis=0)) @ x + (b - jnp.mean(b))[:, None]
    average = jnp.full((1, x.shape[0]), 1 / x.shape[0])
    scale = norm["scale"][:, None] @ jax.lax.rsqrt(average @ (x * x) + 1e-6)
    return x * scale + norm["bias"][:, None]

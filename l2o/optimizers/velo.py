"""VeLO (Metz et al. 2022, arXiv:2211.09760): an LSTM per leaf sets the weights of its network."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.bases.leaf_wise import Inputs, LeafWise
from l2o.optimizers.parts.accumulators import (
    GROUPS,
    Accumulators,
    Features,
    accumulate,
    features,
    init_accumulators,
    normalised_features,
    usual_decays,
)
from l2o.optimizers.parts.feature_mlp import (
    apply_kernel,
    init_grouped_mlp,
    init_kernel,
    join_groups,
    later_layers,
    split_kernel,
)
from l2o.optimizers.parts.loss_buffer import LossBuffer, init_loss_buffer, loss_features, observe
from l2o.optimizers.parts.packing import Packing

Tree = Any
_INPUTS = 30  # of the LSTM
_TIMES = np.array([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1], np.float32)
_DECAYS = usual_decays()


class VeLOState(NamedTuple):
    """Averages of gradients, the LSTM ``[leaves, H]`` (in packed order), and losses."""

    accumulators: Accumulators
    hidden: jax.Array
    cell: jax.Array
    loss: LossBuffer


@dataclasses.dataclass(frozen=True)
class VeLO(LeafWise):
    """VeLO: the step is ``step_mult size RMS(p) o1 exp(exp_mult o2)``.

    ``size`` and the weights of the network behind ``o`` (a mixture of ``param_inits`` networks)
    come from an LSTM that sees statistics of the leaf, training progress and the loss. The step
    contains its own size: as published, the learning rate is 1. The released weights have
    ``lstm_hidden_size=512, param_inits=256``; sizes of given meta-parameters need not be repeated.

    Extra arguments of ``update``: ``value``, the loss (a scalar); steps without one leave the
    memory of losses alone and see loss features of zero, as the first two steps always do.
    ``progress``, the share of training done, instead of steps taken over ``num_steps``.

    Attributes:
        num_steps: Length of training; sets progress and how long losses are remembered. Tell it:
            the step sizes follow a schedule. The released weights know up to 150,000.
        grad_clip: Elementwise bound on the gradient; ``None`` for none.
        lstm_hidden_size: Units of the LSTM.
        param_inits: Networks in the mixture.
        ff_hidden_size: Units of each of their hidden layers.
        ff_hidden_layers: Their hidden layers.
        step_mult: Scale of the step.
        exp_mult: Scale of the network's second output.
        use_bugged_next_lstm_state: Never advance the LSTM's state, as the oldest weights expect.
        use_bugged_loss_features: Remember losses as if ``num_steps`` were 10, as they also expect.
    """

    name: ClassVar[str] = "velo"

    num_steps: int = 10_000
    grad_clip: float | None = 1000.0
    lstm_hidden_size: int = 128
    param_inits: int = 64
    ff_hidden_size: int = 4
    ff_hidden_layers: int = 2
    step_mult: float = 1e-3
    exp_mult: float = 1e-3
    use_bugged_next_lstm_state: bool = False
    use_bugged_loss_features: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_sizes("num_steps", "lstm_hidden_size", "param_inits")
        self._require_sizes("ff_hidden_size", "ff_hidden_layers")
        self._require_positive("step_mult")
        self._require_numbers("exp_mult")
        self._require_flags("use_bugged_next_lstm_state", "use_bugged_loss_features")

    def init_meta(self, key: jax.Array) -> Tree:
        """Return untrained meta-parameters (haiku defaults; the LSTM starts at zero)."""
        hidden, inits = self.lstm_hidden_size, self.param_inits
        key_stack, *keys = jax.random.split(key, 7)
        sizes = (*[self.ff_hidden_size] * self.ff_hidden_layers, 3)
        init_stack = jax.vmap(lambda key: init_grouped_mlp(key, GROUPS, sizes))
        return {
            "ff_mod_stack": init_stack(jax.random.split(key_stack, inits)),
            "lstm_init_state": {name: jnp.zeros((1, hidden)) for name in ("hidden", "cell")},
            "rnn_params": {
                # Not used, nor by the reference, but published weights have it.
                "linear": _init_linear(keys[0], _INPUTS, hidden),
                "linear_1": _init_linear(keys[1], _INPUTS, hidden),
                "linear_2": _init_linear(keys[2], _INPUTS, hidden),
                "rnn": {"linear": _init_linear(keys[3], 2 * hidden, 4 * hidden)},
                "rnn_to_controls": _init_linear(keys[4], hidden, inits),
                "step_size": _init_linear(keys[5], hidden, 1),
            },
        }

    def init_state(self, meta_params: Tree, at: Packing) -> VeLOState:
        """Return zero accumulators, the learned initial state of the LSTM, and no losses."""
        start, leaves = meta_params["lstm_init_state"], len(at.shapes)
        hidden, cell = (jnp.repeat(start[name], leaves, axis=0) for name in ("hidden", "cell"))
        return VeLOState(init_accumulators(at, _DECAYS), hidden, cell, init_loss_buffer())

    def step(
        self, meta_params: Tree, state: VeLOState, inputs: Inputs
    ) -> tuple[VeLOState, jax.Array]:
        """Return the next state and the step; see the class."""
        g, p, at, rnn = inputs.g, inputs.p, inputs.at, meta_params["rnn_params"]
        x, loss = self._lstm_inputs(state, inputs)
        x = _linear(rnn["linear_2"], x) + jax.nn.relu(_linear(rnn["linear_1"], x)).max(0)
        hidden, cell = lstm(rnn["rnn"]["linear"], state.hidden, state.cell, x)
        control = _linear(rnn["rnn_to_controls"], hidden)
        size = _linear(rnn["step_size"], hidden).T

        accumulators = accumulate(state.accumulators, g, _DECAYS, at)
        x = features(accumulators, g, p, at, wide=True, vector_eps=0.0)
        stack = join_groups(meta_params["ff_mod_stack"], axis=1)
        o = networks(stack, control, normalised_features(x, at), at)
        size = size * jnp.sqrt(at.mean(p[None] ** 2, at.leaves) + 1e-9)
        step = at.spread(size, at.leaves)[0] * o[0] * jnp.exp(self.exp_mult * o[1])
        if self.use_bugged_next_lstm_state:
            hidden, cell = state.hidden, state.cell
        next_state = VeLOState(accumulators, hidden, cell, loss)
        return next_state, inputs.rate * self.step_mult * step

    def _lstm_inputs(self, state: VeLOState, inputs: Inputs) -> tuple[jax.Array, LossBuffer]:
        """Return what the LSTM sees, ``[leaves, 30]``, and the losses it now remembers."""
        progress = inputs.progress
        if progress is None:
            progress = inputs.count / self.num_steps
        loss, seen = self._see_loss(state.loss, inputs.value)
        common = jnp.concatenate([jnp.tanh(10 * (progress - _TIMES)), seen])
        per_leaf = statistics(state.accumulators, inputs.p, inputs.at)
        common = jnp.broadcast_to(common, (len(per_leaf), len(common)))
        return jnp.concatenate([common, per_leaf], axis=1), loss

    def _see_loss(
        self, buffer: LossBuffer, value: jax.Array | None
    ) -> tuple[LossBuffer, jax.Array]:
        horizon = 10 if self.use_bugged_loss_features else self.num_steps
        if value is None:
            return buffer, jnp.zeros_like(buffer.means[1:])
        buffer = observe(buffer, value, horizon)
        return buffer, loss_features(buffer, horizon)


def networks(stack: Tree, control: jax.Array, x: Features, at: Packing) -> jax.Array:
    """Apply to each leaf a mixture of networks.

    Args:
        stack: The networks, leading axis ``K``.
        control: Weights of the mixtures, ``[leaves, K]``; a mixture is 100 times their mean.
        x: Normalised features.
        at: Where their elements belong.

    Returns:
        The first two outputs, ``[2, elements]``.
    """
    mix = 100 / control.shape[1] * control
    mixed = jax.tree.map(lambda networks: jnp.tensordot(mix, networks, 1), stack)
    outputs = []
    leaves = zip(at.split(x.own), at.rows.split(x.row), at.cols.split(x.col), strict=True)
    for i, parts in enumerate(leaves):
        layers = {name: layer[i] for name, layer in mixed.items()}
        y = sum(map(apply_kernel, split_kernel(layers["w0"]), parts))
        outputs.append(later_layers(layers, y.reshape(len(y), -1), 2))
    return jnp.concatenate(outputs, axis=1)


def statistics(state: Accumulators, p: jax.Array, at: Packing) -> jax.Array:
    """Return what the LSTM sees of each leaf before this step, ``[leaves, 12]``.

    Mean of rms, one-hot number of axes longer than 1, variance of the momenta, and the mean square
    distance of rms from the momenta's means (which the reference has for the variance of rms);
    averages of gradients are taken relative to the size of the parameters.
    """
    leaves = at.leaves
    both = jnp.concatenate([state.rms, state.m])
    mean = at.mean(both, leaves)
    variance = at.mean((both - at.spread(mean, leaves)) ** 2, leaves)
    mean_rms, mean_m, var_rms, var_m = mean[:1], mean[1:], variance[:1], variance[1:]
    scale = jax.lax.rsqrt(jnp.maximum(1e-9, at.mean(p[None] ** 2, leaves)))
    rank = np.array([sum(n > 1 for n in shape) for shape in at.shapes])
    columns = [
        _log_size(mean_rms * scale),
        jax.nn.one_hot(rank, 5).T,
        _log_size(var_m * scale**2),
        _log_size((var_rms + (mean_rms - mean_m) ** 2) * scale**2),
    ]
    return jnp.concatenate(columns).T


def _log_size(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.clip(jnp.log(1e-8 + jnp.abs(10 * x)), -5, 5)


def lstm(
    params: Tree, hidden: jax.Array, cell: jax.Array, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Advance an LSTM (haiku's, forget bias 1), ``[rows, H]``; return hidden and cell state."""
    gates = _linear(params, jnp.concatenate([x, hidden], axis=1))
    i, g, f, o = jnp.split(gates, 4, axis=1)
    cell = jax.nn.sigmoid(f + 1) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _init_linear(key: jax.Array, inputs: int, outputs: int) -> Tree:
    return {"w": init_kernel(key, (inputs, outputs), inputs), "b": jnp.zeros(outputs)}


def _linear(params: Tree, x: jax.Array) -> jax.Array:
    return x @ params["w"] + params["b"]

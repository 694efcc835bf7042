"""Can a recurrent network reproduce the gradient that it sees?

The paper's test of gradient processing: a GRU and an MLP learn to output their input, a recorded
sequence of gradients; accuracy is the share of outputs within 10% of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from safetensors import SafetensorError, safe_open

from l2o.errors import ResultsError
from l2o.files import AGAIN
from l2o.optimizers.parts import processing
from l2o.optimizers.parts.recurrent import gru, init_gru, init_mlp, mlp
from l2o.optimizers.weights import digest_of
from l2o.seeding import key_for
from l2o.statistics.columns.gradients import IDENTITY_COLUMNS

if TYPE_CHECKING:
    from l2o.config.analysis import Identity
    from l2o.jobs.record import Run

Tree = Any
TOLERANCE = 0.1
_HIDDEN, _MLP = 8, (16, 16)


class Coding(NamedTuple):
    """How a network sees gradients, and how what it says becomes one.

    Attributes:
        encode: From ``[P]`` to network inputs ``[features, P]``.
        target: From ``[P]`` to what the network should say, ``[outputs, P]``.
        decode: The inverse of ``target``.
    """

    encode: Callable[[jax.Array], jax.Array]
    target: Callable[[jax.Array], jax.Array]
    decode: Callable[[jax.Array], jax.Array]


def _clipped(g: jax.Array) -> jax.Array:
    return processing.raw(processing.clip(g, 1.0))


def _decode_sign_log(y: jax.Array, p: float = 1.0) -> jax.Array:
    return jnp.sign(y[0]) * jnp.exp(p * y[1])


def _decode_log_scaled(y: jax.Array) -> jax.Array:
    large = y[0] > -1.0
    return jnp.where(large, jnp.sign(y[1]) * jnp.exp(10.0 * y[0]), jnp.exp(-10.0) * y[1])


def _decode_scaled(y: jax.Array) -> jax.Array:
    return _decode_sign_log(y, 10.0)


def _decode_symlog(y: jax.Array) -> jax.Array:
    return jnp.sign(y[0]) * jnp.expm1(jnp.abs(y[0]))


CODINGS = {
    "none": Coding(processing.raw, processing.raw, lambda y: y[0]),
    "clip": Coding(_clipped, _clipped, lambda y: y[0]),
    "symlog": Coding(processing.symlog, processing.symlog, _decode_symlog),
    "sign_log": Coding(processing.sign_log, processing.sign_log, _decode_sign_log),
    "sign_log_scaled": Coding(
        processing.sign_log_scaled, processing.sign_log_scaled, _decode_scaled
    ),
    "log_scaled": Coding(processing.log_scaled, processing.log_scaled, _decode_log_scaled),
    "fourier": Coding(processing.fourier, processing.sign_log_scaled, _decode_scaled),
}
"""By name; ``log_scaled`` is that of Andrychowicz et al. (2016)."""


def train_networks(source: str, samples: np.ndarray, settings: Identity, run: Run) -> pd.DataFrame:
    """Train networks to output their input, with every gradient processing.

    Args:
        source: Whose gradients, for the table.
        samples: See :func:`read_samples`.
        settings: Which networks.
        run: Shows the progress.

    Returns:
        See ``IDENTITY_COLUMNS``.
    """
    progress = run.progress(len(CODINGS), unit="processing")
    frames = []
    for name in CODINGS:
        table = _train(name, samples, settings)
        frames.append(table.assign(source=source, processing=name))
        best = float(table[table["chosen"]]["test"].mean())
        run.summary({name: best})
        progress.update(len(frames), score=best, label="accuracy")
    return pd.concat(frames)[list(IDENTITY_COLUMNS)]


def read_samples(folder: Path) -> np.ndarray:
    """Return recorded gradients of a source, ``[agents, phases, window, coordinates]`` float32.

    The window is cut to what every phase of the lifetime was long enough for.

    Raises:
        ResultsError: There are none, they have changed since they were written, or are of fewer
            than two agents.
    """
    path = folder / "samples.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            digest, samples = (file.metadata() or {}).get("digest"), file.get_tensor("samples")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); run `l2o record` again.") from None
    if digest not in (None, digest_of({}, {"samples": samples})):
        raise ResultsError(f"{path}: damaged: changed since it was written; {AGAIN}.")
    known = np.isfinite(samples).all(axis=(0, 1, 3))
    if len(samples) < 2 or not known.any():
        raise ResultsError(f"{path}: needs finite gradients of two agents, one to be left out.")
    return samples[:, :, : int(known.argmin()) or len(known)]


def _train(name: str, samples: np.ndarray, settings: Identity) -> pd.DataFrame:
    """Train networks: some of every learning rate, the rest at the one that is best in training."""
    shape = (settings.steps, min(settings.unroll, samples.shape[2]), settings.coordinates)
    network = jax.jit(functools.partial(_network, name, shape))

    def row(rate: float, seed: int) -> tuple:
        train, test = network(key_for(seed, "identity", name), jnp.float32(rate), samples)
        return rate, seed, float(train), float(test)

    columns = ["learning_rate", "seed", "train", "test"]
    tuning = [(r, s) for r in settings.learning_rates for s in range(settings.tuning_seeds)]
    table = pd.DataFrame([row(*pair) for pair in tuning], columns=columns)
    best = table.groupby("learning_rate")["train"].mean().idxmax()
    rest = [row(best, seed) for seed in range(settings.tuning_seeds, settings.seeds)]
    table = pd.concat([table, pd.DataFrame(rest, columns=columns)], ignore_index=True)
    return table.assign(chosen=table["learning_rate"] == best)


def _network(
    name: str, shape: tuple[int, int, int], key: jax.Array, rate: jax.Array, samples: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Train one network; return its accuracy on the agents trained on and on the last one."""
    coding, (steps, unroll, number) = CODINGS[name], shape
    key_init, key = jax.random.split(key)
    params, tx = _init(coding, key_init), optax.adam(optax.cosine_decay_schedule(rate, steps))
    agents, phases, window, coordinates = samples.shape

    def batch(key: jax.Array) -> jax.Array:
        """Draw sequences of coordinates of any agents but the last, ``[unroll, number]``."""
        limits = (agents - 1, phases, window - unroll + 1, coordinates)
        agent, phase, first, coordinate = (
            jax.random.randint(k, (number,), 0, limit)
            for k, limit in zip(jax.random.split(key, 4), limits, strict=True)
        )
        return samples[agent, phase, first + jnp.arange(unroll)[:, None], coordinate]

    def loss(params: Tree, g: jax.Array) -> jax.Array:
        return jnp.mean((_outputs(coding, params, g) - jax.vmap(coding.target)(g)) ** 2)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params, batch(key)), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, steps))
    train, test = (_sequences(part, unroll) for part in (samples[:-1], samples[-1:]))
    return _accuracy(coding, params, train), _accuracy(coding, params, test)


def _sequences(samples: jax.Array, length: int) -> jax.Array:
    """Cut recordings into sequences, as long as those in training: ``[length, number]``."""
    whole = samples.shape[2] // length * length
    parts = jnp.moveaxis(samples[:, :, :whole], 2, -1).reshape(-1, length)
    return parts.T


def _init(coding: Coding, key: jax.Array) -> Tree:
    key_gru, key_mlp = jax.random.split(key)
    probe = jax.ShapeDtypeStruct((1,), jnp.float32)
    inputs, outputs = (jax.eval_shape(f, probe).shape[0] for f in (coding.encode, coding.target))
    return {
        "gru": init_gru(key_gru, inputs, _HIDDEN),
        "mlp": init_mlp(key_mlp, (_HIDDEN, *_MLP, outputs)),
    }


def _outputs(coding: Coding, params: Tree, g: jax.Array) -> jax.Array:
    """Return what the network says along sequences ``[T, N]``: ``[T, outputs, N]``."""

    def step(h: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = gru(params["gru"], h, coding.encode(g))
        return h, mlp(params["mlp"], h)

    return jax.lax.scan(step, jnp.zeros((_HIDDEN, g.shape[1])), g)[1]


def _accuracy(coding: Coding, params: Tree, g: jax.Array) -> jax.Array:
    """Return the share of outputs within ``TOLERANCE`` of sequences ``[T, N]``, where not 0."""
    out = jax.vmap(coding.decode)(_outputs(coding, params, g))
    close = jnp.abs(out - g) <= TOLERANCE * jnp.abs(g)
    return jnp.sum(close & (g != 0)) / jnp.sum(g != 0)

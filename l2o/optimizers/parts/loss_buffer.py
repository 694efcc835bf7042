"""VeLO's memory of losses: averages over ten time scales, and how they compare."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class LossBuffer(NamedTuple):
    """Losses seen so far."""

    count: jax.Array  # shape=(), dtype=int32: how many
    means: jax.Array  # [10], float32: averages, from fast to slow, not corrected
    minimum: jax.Array  # [10], float32: the smallest that each corrected average has been


def init_loss_buffer() -> LossBuffer:
    """Return the memory before the first loss."""
    return LossBuffer(
        jnp.zeros((), jnp.int32),
        jnp.zeros(10, jnp.float32),
        jnp.full(10, 999999999999.0, jnp.float32),
    )


def observe(buffer: LossBuffer, loss: jax.Array, num_steps: int) -> LossBuffer:
    """Add a loss, cut at twice the largest average; time scales run from 10 to ``num_steps``."""
    means, count = buffer.means, buffer.count + 1
    decays = _decays(num_steps)
    largest = jnp.abs(jnp.max(means / (1 - decays**count)))
    loss = jnp.where(buffer.count == 0, loss, jnp.minimum(2 * largest, loss))
    means = means * decays + loss * (1 - decays)
    corrected = means / (1 - decays**count)
    return LossBuffer(count, means, jnp.minimum(buffer.minimum, corrected))


def loss_features(buffer: LossBuffer, num_steps: int) -> jax.Array:
    """Compare each average with the next slower one, ``[9]`` from -1 to 1; zero for two losses."""
    corrected = buffer.means / (1 - _decays(num_steps) ** buffer.count)
    above, slower = (x - buffer.minimum[:-1] for x in (corrected[:-1], corrected[1:]))
    ratios = jnp.clip(above / jnp.maximum(1e-8, slower) - 1, -1, 1)
    return jnp.where(buffer.count > 2, ratios, 0.0)


def _decays(num_steps: int) -> np.ndarray:
    half_lives = np.logspace(1, np.log10(num_steps), 10)
    return np.exp(-1 / half_lives).astype(np.float32)

"""Gradient processing: what a learned optimizer sees of a gradient.

Functions map a gradient vector ``[P]`` to network inputs ``[features, P]``.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Processing = Callable[[jax.Array], jax.Array]


def check_name(name: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless ``name`` is one of ``allowed``."""
    if name not in allowed:
        raise ValueError(f"processing must be one of {list(allowed)}; got {name!r}")


def clip(g: jax.Array, bound: float | None) -> jax.Array:
    """Clip elementwise to ``[-bound, bound]``; ``None`` leaves the gradient alone."""
    return g if bound is None else jnp.clip(g, -bound, bound)


def raw(g: jax.Array) -> jax.Array:
    """Return the gradient itself, ``[1, P]``."""
    return g[None]


def sign_log(g: jax.Array, eps: float = 1e-18) -> jax.Array:
    """Return sign and log magnitude, ``[2, P]``: the paper's gradient processing."""
    return jnp.stack([jnp.sign(g), jnp.log(jnp.abs(g) + eps)])


def log_scaled(g: jax.Array, p: float = 10.0, eps: float = 1e-8) -> jax.Array:
    """Return the two-branch log scaling of Andrychowicz et al. (2016, appendix A), ``[2, P]``.

    ``(log(|g| + eps) / p, sign g)`` where the first is at least -1, else ``(-1, exp(p) g)``.
    """
    log = jnp.log(jnp.abs(g) + eps) / p
    large = log >= -1.0
    return jnp.stack([jnp.where(large, log, -1.0), jnp.where(large, jnp.sign(g), jnp.exp(p) * g)])


def symlog(g: jax.Array) -> jax.Array:
    """Return ``sgn(g) log(1 + |g|)``, ``[1, P]`` (Hafner et al. 2023, DreamerV3)."""
    return (jnp.sign(g) * jnp.log1p(jnp.abs(g)))[None]


def sign_log_scaled(g: jax.Array, p: float = 10.0, eps: float = 1e-18) -> jax.Array:
    """Return sign and log magnitude divided by ``p``, ``[2, P]``: both of about the same size."""
    sign, log = sign_log(g, eps)
    return jnp.stack([sign, log / p])


def fourier(g: jax.Array, octaves: int = 6, eps: float = 1e-18) -> jax.Array:
    """Return the sign, and sines and cosines of the log magnitude, ``[1 + 2 octaves, P]``.

    Wave lengths are 32, 16, ... decades: together they tell any float32 magnitude from any other,
    and nearby ones apart, as positional encodings do.
    """
    angle = 2 * jnp.pi / 32 * jnp.log10(jnp.abs(g) + eps)
    waves = [wave(2.0**k * angle) for k in range(octaves) for wave in (jnp.sin, jnp.cos)]
    return jnp.stack([jnp.sign(g), *waves])


PAIRS: dict[str, tuple[Processing, Processing]] = {
    "clip": (raw, lambda g: raw(g * g)),
    "symlog": (symlog, lambda g: symlog(g * g)),
    "sign_log_scaled": (sign_log_scaled, lambda g: 2.0 * sign_log_scaled(g)[1:]),
    "log_scaled": (log_scaled, lambda g: log_scaled(g * g)),
    "fourier": (fourier, lambda g: fourier(g)[1:]),
}
"""What Optim4RL's two networks see, by name: functions of a clipped gradient, for its numerator and
its denominator."""

"""Activation functions of recurrent cores, which spend most of their time in them.

``tanh`` is a quotient of polynomials, fitted for the least relative error over the range in which
float32 can tell it from 1. XLA's is such a quotient too, but takes about twice the time on a CPU.

Both functions end in their division on purpose: XLA's CPU backend computes a value that ends in a
cheap operation anew, with all that it depends on, for each loop that reads it; a division once.
"""

import jax
import jax.numpy as jnp

_BOUND = 8.7
# Of x^0, x^2, ... x^8; found by linear programming on the relative error, in float64.
_NUMERATOR = (9.99999933e-01, 1.32961773e-01, 3.39413025e-03, 1.89182465e-05, 1.09813653e-08)
_DENOMINATOR = (1.0, 4.66295107e-01, 2.54926941e-02, 3.11872082e-04, 6.81120199e-07)


def tanh(x: jax.Array) -> jax.Array:
    """Return the hyperbolic tangent within 4e-7 of its value, float32 like ``x``."""
    numerator, denominator = _quotient(x)
    return numerator / denominator


def sigmoid(x: jax.Array) -> jax.Array:
    """Return the logistic function within 3e-7, float32 like ``x``."""
    numerator, denominator = _quotient(0.5 * x)
    return 0.5 * (numerator + denominator) / denominator


def _quotient(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return numerator and denominator of the hyperbolic tangent."""
    inside = jnp.clip(x, -_BOUND, _BOUND)
    square = inside * inside
    # Exactly 1 where it saturates: a gate that is shut must not leak, step after step.
    varies = jnp.abs(x) < _BOUND
    numerator = jnp.where(varies, inside * _polynomial(_NUMERATOR, square), inside)
    denominator = jnp.where(varies, _polynomial(_DENOMINATOR, square), jnp.abs(inside))
    return numerator, denominator


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value

"""Activation functions: as accurate as float32 allows, exact where they saturate."""

import jax
import jax.numpy as jnp
import numpy as np

from l2o.optimizers.parts.activations import sigmoid, tanh

RANGE = np.linspace(-12, 12, 200_001, dtype=np.float32)


def test_tanh_is_within_4e_7_of_its_value():
    x = RANGE[np.abs(RANGE) > 1e-6].astype(np.float64)
    got = np.asarray(jax.jit(tanh)(jnp.float32(x)), np.float64)
    exact = np.tanh(np.float64(np.float32(x)))
    assert np.max(np.abs(got / exact - 1)) < 4e-7


def test_sigmoid_is_within_3e_7():
    exact = 1 / (1 + np.exp(-RANGE.astype(np.float64)))
    assert np.max(np.abs(np.asarray(jax.jit(sigmoid)(RANGE)) - exact)) < 3e-7


def test_ends():
    x = jnp.float32([-np.inf, -1e30, -9, 0, 9, 1e30, np.inf])
    np.testing.assert_array_equal(tanh(x), [-1, -1, -1, 0, 1, 1, 1])
    np.testing.assert_array_equal(sigmoid(2 * x), [0, 0, 0, 0.5, 1, 1, 1])
    assert jnp.isnan(tanh(jnp.float32(np.nan))) and jnp.isnan(sigmoid(jnp.float32(np.nan)))


def test_derivative():
    x = jnp.linspace(-12.0, 12.0, 101)
    slope = jax.vmap(jax.grad(tanh))(x)
    np.testing.assert_allclose(slope, 1 - np.tanh(np.float64(x)) ** 2, atol=2e-5)

"""What tests of all learned optimizers share: transformations with random meta-parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import l2o

LEARNED = l2o.list_optimizers()


@functools.cache
def meta_of(name, **hyperparameters):
    """Return an optimizer, and random meta-parameters, NumPy's."""
    optimizer = l2o.make_optimizer(name, **hyperparameters)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    draw = lambda leaf: np.float32(rng.normal(scale=0.1, size=leaf.shape))  # noqa: E731
    return optimizer, jax.tree.map(draw, shapes)


def make(name, rate=0.01, **hyperparameters):
    """Return the transformation of a learned optimizer."""
    optimizer, meta = meta_of(name, **hyperparameters)
    return optimizer.transform(meta, rate)


def types(tree):
    """Return shapes and dtypes, as a comparable value."""
    return [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    """Compare leaves; ``atol`` is relative to the largest number of each: some updates are tiny."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.float64(x), np.float64(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol * np.abs(y).max(initial=0))

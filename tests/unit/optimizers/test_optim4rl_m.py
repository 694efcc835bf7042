"""What Optim4RL-M contains: Adam, where it starts, and sign descent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from l2o.errors import ConfigError
from l2o.optimizers.registry import make_optimizer

STEPS = 60
RATE = 0.01
# Where averages cancel, what is left of them is rounding.
CLOSE = {"rtol": 1e-5, "atol": 1e-6 * RATE}


@pytest.fixture(scope="module")
def gradients():
    """Gradients of very different sizes, zeros among them, that turn round now and then."""
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-6, 1, 40)
    g = scale * (rng.normal(size=(STEPS, 40)) + np.where(np.arange(STEPS) < 30, 1, -1)[:, None])
    g[:, :3] = 0.0
    g[10:20, 3:6] = 0.0
    return jnp.asarray(g, jnp.float32)


@pytest.fixture(scope="module")
def optimizer():
    return make_optimizer("optim4rl_m", grad_clip=None)


def updates_of(tx, gradients, **extra):
    def step(state, g):
        updates, state = tx.update(g, state, **extra)
        return state, updates

    _, updates = jax.jit(lambda: jax.lax.scan(step, tx.init(gradients[0]), gradients))()
    return updates


@pytest.mark.parametrize("seed", [0, 1])
def test_it_starts_as_adam(optimizer, gradients, seed):
    meta = optimizer.init_meta(jax.random.key(seed))
    ours = updates_of(optimizer.transform(meta, RATE), gradients, progress=0.5)
    adam = updates_of(optax.with_extra_args_support(optax.adam(RATE)), gradients)
    np.testing.assert_allclose(ours, adam, **CLOSE)
    assert np.abs(adam).max() > 0.005


def test_another_epsilon_is_a_setting(optimizer, gradients):
    meta = optimizer.init_meta(jax.random.key(0)) | {"log_eps": jnp.log(jnp.float32(1e-3))}
    ours = updates_of(optimizer.transform(meta, RATE), gradients)
    adam = updates_of(optax.adam(RATE, eps=1e-3), gradients)
    np.testing.assert_allclose(ours, adam, **CLOSE)


def test_sign_descent_is_a_setting(optimizer, gradients):
    meta = optimizer.init_meta(jax.random.key(0))
    # a = (1, 0, 0, 0), c = (1, 0), s = 0, and no epsilon to speak of.
    base = jnp.zeros_like(meta["base"]).at[jnp.array([0, 4])].set(1.0)
    meta = meta | {"base": base, "log_eps": jnp.float32(-40.0)}
    ours = updates_of(optimizer.transform(meta, RATE), gradients)
    np.testing.assert_allclose(ours, -RATE * np.sign(gradients), **CLOSE)


def test_momentum_is_a_setting(optimizer, gradients):
    """With the magnitude cancelled by epsilon it is a mixture of averages of the gradient."""
    meta = optimizer.init_meta(jax.random.key(0))
    meta = meta | {"log_eps": jnp.float32(40.0)}
    base = meta["base"].at[:].set(jnp.array([1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 40.0]))
    ours = updates_of(optimizer.transform(meta | {"base": base}, 1.0), gradients)
    slow = updates_of(optax.ema(0.9, debias=True), gradients)
    np.testing.assert_allclose(ours, -(gradients + 2 * slow), rtol=1e-4, atol=1e-7)


def trained(optimizer):
    """Meta-parameters away from the start, as after meta-training."""
    meta = optimizer.init_meta(jax.random.key(0))
    leaves, structure = jax.tree.flatten(meta)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    moved = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def test_the_step_turns_round_with_the_gradients(optimizer, gradients):
    tx = optimizer.transform(trained(optimizer))
    forth, back = updates_of(tx, gradients), updates_of(tx, -gradients)
    np.testing.assert_allclose(forth, -back, rtol=1e-5)


def test_it_may_differ_in_sign_from_the_gradient_and_reads_progress(optimizer, gradients):
    tx = optimizer.transform(trained(optimizer))
    early, late = (updates_of(tx, gradients, progress=share) for share in (0.0, 1.0))
    assert (np.sign(early[35:]) * np.sign(gradients[35:]) > 0).mean() > 0.05
    assert np.abs(early - late).max() > 1e-3


def test_state_and_meta_parameters_are_small(optimizer):
    state = optimizer.transform(optimizer.init_meta(jax.random.key(0))).init(jnp.zeros(100))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.hidden)) == 5 * 100


@pytest.mark.parametrize("decays", [(), (0.9, 0.5), (0.0, 0.9), (0.9, 1.0)])
def test_decays_must_ascend_between_0_and_1(decays):
    with pytest.raises(ConfigError, match=r"momentum_decays must ascend"):
        make_optimizer("optim4rl_m", momentum_decays=decays)

"""JAX's global settings: every learned optimizer does what it does without them, as Adam does."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from every import LEARNED, assert_close, make, meta_of, types

import l2o

pytestmark = pytest.mark.long

FLAGS = {
    "64 bits": {"jax_enable_x64": True},
    "strict promotion": {"jax_numpy_dtype_promotion": "strict"},
    "64 bits, strict": {"jax_enable_x64": True, "jax_numpy_dtype_promotion": "strict"},
    "no rank promotion": {"jax_numpy_rank_promotion": "raise"},
    "coarse products": {"jax_default_matmul_precision": "bfloat16"},
    "fine products": {"jax_default_matmul_precision": "F64_F64_F64"},
    "checks": {
        "jax_enable_checks": True,
        "jax_check_tracer_leaks": True,
        "jax_debug_key_reuse": True,
        "jax_debug_nans": True,
        "jax_debug_infs": True,
        "jax_explicit_x64_dtypes": "error",
        "jax_legacy_prng_key": "error",
    },
    "guarded transfers": {"jax_transfer_guard": "disallow"},
    "other compilation": {
        "jax_use_direct_linearize": not jax.config.jax_use_direct_linearize,
        "jax_use_simplified_jaxpr_constants": not jax.config.jax_use_simplified_jaxpr_constants,
        "jax_use_shardy_partitioner": not jax.config.jax_use_shardy_partitioner,
        "jax_threefry_partitionable": not jax.config.jax_threefry_partitionable,
        "jax_default_prng_impl": "rbg",
    },
}
NAMES = ["adam", *LEARNED]


@contextlib.contextmanager
def flags(**chosen):
    before = {name: getattr(jax.config, name) for name in chosen}
    try:
        for name, value in chosen.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def transformation(name, rate=0.01):
    return optax.adam(rate) if name == "adam" else make(name, rate)


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {"critic": {"w": rng.normal(size=(3, 2)).astype(dtype)}, "b": np.zeros(2, dtype)}


def train(params, names=NAMES):
    """Take two steps with every optimizer; return updates and the last state."""

    def alone(name):
        tx = transformation(name)

        def step(carry, _):
            params, state = carry
            grads = jax.tree.map(lambda p: p / 2, params)  # some are zero
            more = {"value": jnp.ones((), params["b"].dtype), "progress": 0.5}
            updates, state = tx.update(grads, state, params, **more)
            return (optax.apply_updates(params, updates), state), updates

        (_, state), updates = jax.lax.scan(step, (params, tx.init(params)), length=2)
        return updates, state

    return {name: alone(name) for name in names}


@functools.cache
def without_flags():
    return jax.device_get(jax.jit(train)(parameters()))


@pytest.mark.parametrize("name", FLAGS)
def test_updates_are_those_without_the_flag(name):
    wanted, params = without_flags(), jax.device_put(parameters())
    # Of optax, Adam does not survive strict promotion.
    names = LEARNED if "jax_numpy_dtype_promotion" in FLAGS[name] else NAMES
    with flags(**FLAGS[name]):
        got = jax.jit(functools.partial(train, names=names))(params)
    for n in LEARNED:
        # OPEN subtracts the mean of all steps: the small ones are as exact as the large ones are.
        assert_close(got[n], wanted[n], rtol=1e-6, **({"atol": 1e-4} if n == "open" else {}))
    if "adam" in got:  # whose corrections for its start are of other precision under 64 bits
        assert_close(got["adam"], wanted["adam"], rtol=1e-4)
    assert types({n: got[n] for n in LEARNED}) == types({n: wanted[n] for n in LEARNED})


def test_uncompiled_steps_are_checked_too():
    """Without ``jit`` every operation's result is: also what nothing depends on."""
    wanted, params = without_flags(), jax.device_put(parameters())
    with flags(jax_debug_nans=True, jax_debug_infs=True, jax_disable_jit=True):
        for name in NAMES:
            tx = transformation(name)
            grads = jax.tree.map(lambda p: p / 2, params)
            updates, _ = tx.update(grads, tx.init(params), params, value=1.0, progress=0.5)
            first = jax.tree.map(lambda u: u[0], wanted[name][0])
            assert_close(updates, first, rtol=1e-4, atol=1e-6)


def test_parameters_of_64_bits_get_updates_of_64_bits():
    wanted = without_flags()
    with flags(jax_enable_x64=True):
        params = jax.device_put(parameters(np.float64))
        got = jax.jit(train)(params)
        assert {x.dtype for x in jax.tree.leaves([got[n][0] for n in NAMES])} == {
            jnp.dtype(np.float64)
        }
        assert types([got[n][1] for n in LEARNED]) == types([wanted[n][1] for n in LEARNED])
        for name in LEARNED:
            assert_close(got[name][0], wanted[name][0], rtol=1e-3, atol=1e-6)
        half = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        for name in NAMES:  # narrower gradients, as of a mixed-precision loss
            tx = transformation(name)
            updates = jax.eval_shape(lambda g, p, tx=tx: tx.update(g, tx.init(p), p), half, params)
            assert {u.dtype for u in jax.tree.leaves(updates[0])} == {jnp.dtype(np.float64)}


@pytest.mark.parametrize("name", LEARNED)
def test_initial_meta_parameters_are_float32(name):
    optimizer, key = l2o.make_optimizer(name), jax.random.key(1)
    wanted = optimizer.init_meta(key)
    with flags(jax_enable_x64=True, jax_numpy_dtype_promotion="strict"):
        got = optimizer.init_meta(key)
        shapes = jax.eval_shape(optimizer.init_meta, key)
    assert types(got) == types(shapes) == types(wanted)
    assert_close(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["optim4rl_b", "open", "star"])
def test_derivatives_are_those_without_the_flag(name):
    optimizer, meta = meta_of(name)
    params = parameters()

    def loss(meta, rate):
        tx = optimizer.transform(meta, rate)
        state, total = tx.init(params), 0.0
        for _ in range(2):
            updates, state = tx.update(params, state, params)
            total += sum(jnp.sum(jnp.sin(u)) for u in jax.tree.leaves(updates))
        return total

    derive = lambda: jax.jit(jax.grad(loss, argnums=(0, 1)))(meta, np.float32(0.01))  # noqa: E731
    wanted = derive()
    with flags(jax_enable_x64=True, jax_numpy_rank_promotion="raise"):
        got = derive()
    assert types(got) == types(wanted)
    assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    with flags(jax_numpy_dtype_promotion="strict", jax_numpy_rank_promotion="raise"):
        jax.make_jaxpr(lambda: jax.grad(loss)(meta, 0.01) if name != "star" else ())()


def test_a_schedule_runs_under_its_authors_settings():
    params, seen = parameters(), []

    def schedule(count):
        seen.append(jnp.asarray(0.01 + 0 * count))
        return jnp.float64(0.01)

    wanted = without_flags()["linear"][0]
    with flags(jax_enable_x64=True):
        tx = make("linear", schedule)
        grads = jax.tree.map(lambda p: p / 2, params)
        updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    assert seen[0].dtype == np.float64
    assert_close(updates, jax.tree.map(lambda u: u[0], wanted), rtol=1e-6)


@pytest.mark.parametrize("new", [jax.random.key, jax.random.PRNGKey])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_all_kinds(new, impl):
    params = parameters()
    with flags(jax_default_prng_impl=impl):
        key = new(0)
        meta = jax.eval_shape(l2o.make_optimizer("velo").init_meta, key)
        tx = make("open")
        noisy = tx.update(params, tx.init(params), params, key=key)[0]
    quiet = tx.update(params, tx.init(params), params)[0]
    assert types(meta) == types(meta_of("velo")[1])
    assert all((a != b).all() for a, b in zip(*map(jax.tree.leaves, (noisy, quiet)), strict=True))

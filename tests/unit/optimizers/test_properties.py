"""Properties of all optimizers and of weight files, on drawn inputs (the same in every run)."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import l2o
from l2o.errors import CheckpointError
from l2o.optimizers.classical import classical, list_classical
from l2o.optimizers.parts.paths import named_leaves

LEARNED = l2o.list_optimizers()
EVERY = [*LEARNED, *list_classical()]
STEPS = 2
# Compiling is what takes time, so shapes and dtypes come from a small pool.
TREES = {
    "mixed": {
        "actor": {"kernel": ((2, 3), "float16"), "bias": ((3,), "float32")},
        "critic": {"kernel": ((3, 1, 2), "bfloat16"), "none": ((0, 2), "float32")},
        "scale": ((), "float32"),
        "absent": None,
    },
    "scalars": [((), "bfloat16"), ((1,), "float32"), ((0,), "float16"), ((), "float16")],
}
# Optax keeps the state of Adam in the parameters' dtype, where eps = 1e-8 is 0 in float16 and the
# update of a zero gradient 0 / 0; so the classical optimizers get bfloat16 for it.
NARROWEST = {name: "bfloat16" if name in list_classical() else "float16" for name in EVERY}
few = functools.partial(
    settings,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Compiling is what takes time here; without XLA's newer emitter of fused loops it takes a third.
jit = functools.partial(jax.jit, compiler_options=options(old_emitters=True))


@functools.cache
def make(name, **hyperparameters):
    """Build an optimizer; a learned one with random meta-parameters."""
    if name not in LEARNED:
        return classical(name, 0.01)
    optimizer = l2o.make_optimizer(name, **hyperparameters)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    meta = jax.tree.map(lambda leaf: np.float32(rng.normal(scale=0.1, size=leaf.shape)), shapes)
    return optimizer.transform(meta, 0.01)


@functools.cache
def runner(name, guarded=False):
    """Return a compiled function: parameters and gradients [steps, ...] to updates."""
    tx = optax.apply_if_finite(make(name), 5) if guarded else make(name)

    def run(params, grads):
        def step(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            return (optax.apply_updates(params, updates), state), updates

        return jax.lax.scan(step, (params, tx.init(params)), grads)[1]

    return jit(run)


def numbers(name, tree, seed, lead=()):
    """Return a tree of the pool, filled with normal numbers."""
    rng = np.random.default_rng(seed)

    def fill(leaf):
        shape, dtype = leaf
        dtype = NARROWEST[name] if dtype == "float16" else dtype
        return np.asarray(rng.normal(size=(*lead, *shape))).astype(jnp.dtype(dtype))

    return jax.tree.map(fill, TREES[tree], is_leaf=lambda x: isinstance(x, tuple))


def scaled(grads, factors):
    """Multiply the leaves by one factor each, within the range of their dtype."""
    leaves, structure = jax.tree.flatten(grads)

    def scale(leaf, factor):
        most = float(jnp.finfo(leaf.dtype).max)
        return np.clip(np.float64(leaf) * factor, -most, most).astype(leaf.dtype)

    pairs = zip(leaves, factors, strict=False)
    return jax.tree.unflatten(structure, [scale(leaf, factor) for leaf, factor in pairs])


def finite(tree):
    return all(np.isfinite(np.float32(leaf)).all() for leaf in jax.tree.leaves(tree))


def flat(tree):
    return np.concatenate([np.float32(leaf).ravel() for leaf in jax.tree.leaves(tree)])


# Updates

seeds = st.integers(0, 1000)
factors = st.lists(st.sampled_from([0.0, 1e-38, 1e-6, 1.0, 1e38]), min_size=5, max_size=5)
LARGEST = {"small_fc": 1e18}  # it squares gradients, and has no bound by default


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("tree", TREES)
@few(max_examples=6)
@given(seed=seeds, factors=factors)
def test_updates_of_finite_gradients_are_finite(name, tree, seed, factors):
    params = numbers(name, tree, seed)
    factors = [min(factor, LARGEST.get(name, np.inf)) for factor in factors]
    grads = scaled(numbers(name, tree, seed + 1, (STEPS,)), factors)
    updates = jax.device_get(runner(name)(params, grads))
    assert finite(updates)
    described = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (updates, grads))
    assert described[0] == described[1]


def poisoned(name, seed, value):
    """Return parameters, gradients with ``value`` in one entry of the bias, and its index."""
    params, grads = numbers(name, "mixed", seed), numbers(name, "mixed", seed + 1, (STEPS,))
    index = seed % 3
    grads["actor"]["bias"][0, index] = value
    return params, grads, index


@pytest.mark.parametrize("name", LEARNED)
@few(max_examples=4)
@given(seed=seeds, sign=st.sampled_from([-1.0, 1.0]))
def test_infinite_gradient_is_one_at_the_bound(name, seed, sign):
    bound = l2o.make_optimizer(name).grad_clip
    params, grads, _ = poisoned(name, seed, sign * np.inf)
    updates = jax.device_get(runner(name)(params, grads))
    if bound is None:
        assert not finite(updates["actor"]["bias"])
        return
    bounded = jax.device_get(runner(name)(*poisoned(name, seed, sign * bound)[:2]))
    np.testing.assert_array_equal(flat(updates), flat(bounded))


@pytest.mark.parametrize("name", LEARNED)
@few(max_examples=4)
@given(seed=seeds)
def test_nan_gradient_makes_its_update_nan(name, seed):
    params, grads, index = poisoned(name, seed, np.nan)
    updates = jax.device_get(runner(name)(params, grads))
    assert np.isnan(updates["actor"]["bias"][:, index]).all()  # it stays in the state
    if l2o.make_optimizer(name).coordinate_wise:
        sound = jax.device_get(runner(name)(*poisoned(name, seed, 0.5)[:2]))
        bias = sound["actor"]["bias"].copy()
        bias[:, index] = np.nan
        sound["actor"]["bias"] = bias
        np.testing.assert_array_equal(flat(updates), flat(sound))


@pytest.mark.parametrize("name", LEARNED)
@few(max_examples=4)
@given(seed=seeds)
def test_apply_if_finite_drops_a_nan(name, seed):
    params, grads, _ = poisoned(name, seed, np.nan)
    updates = jax.device_get(runner(name, guarded=True)(params, grads))
    first, second = (flat(jax.tree.map(lambda u, i=i: u[i], updates)) for i in (0, 1))
    assert not first.any()
    _, clean, _ = poisoned(name, seed, 0.5)
    start = jax.tree.map(lambda g: g[::-1], clean)  # the second gradient first, as if nothing was
    alone = jax.device_get(runner(name, guarded=True)(params, start))
    np.testing.assert_array_equal(second, flat(jax.tree.map(lambda u: u[0], alone)))


# Weight files


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file, its content, and what it holds."""
    optimizer = l2o.make_optimizer("open", gru_features=2, hidden_size=3)
    rng = np.random.default_rng(0)
    meta = jax.tree.map(
        lambda leaf: np.float32(rng.normal(size=leaf.shape)),
        optimizer.init_meta(jax.random.key(0)),
    )
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    l2o.save_weights(path, optimizer, meta, {"recipe": "x", "learning_rate": 0.05})
    return path, path.read_bytes(), loaded(path)


def loaded(path):
    """Return everything that a file holds, as comparable values."""
    optimizer, meta, metadata = l2o.load_weights(path)
    arrays = {name: np.asarray(leaf).tobytes() for name, leaf in named_leaves(meta).items()}
    return optimizer, arrays, json.dumps(metadata)


def assert_refused_or_unchanged(path, content, wanted):
    path.write_bytes(content)
    try:
        got = loaded(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert got == wanted


@few(max_examples=150)
@given(data=st.data())
def test_changed_byte_is_noticed(weights, data):
    path, content, wanted = weights
    header = 8 + int.from_bytes(content[:8], "little")
    # The arrays are the larger part; half of the changes go to what describes them.
    end = data.draw(st.sampled_from([header, len(content)]))
    index = data.draw(st.integers(0, end - 1))
    value = data.draw(st.integers(0, 255))
    changed = content[:index] + bytes([value]) + content[index + 1 :]
    assert_refused_or_unchanged(path, changed, wanted)


@few(max_examples=40)
@given(data=st.data())
def test_truncated_or_extended_file_is_refused(weights, data):
    path, content, _ = weights
    cut = data.draw(st.integers(0, len(content)))
    tail = data.draw(st.binary(min_size=cut == len(content), max_size=20))
    path.write_bytes(content[:cut] + tail)
    if path.read_bytes() != content:
        with pytest.raises(CheckpointError, match="safetensors"):
            l2o.load_weights(path)


@few(max_examples=20)
@given(seed=seeds, share=st.floats(0.1, 0.9))
def test_exchanged_bytes_are_noticed(weights, seed, share):
    """Blocks of the file in another order: everything is there, in the wrong place."""
    path, content, wanted = weights
    cut = int(share * len(content))
    body = bytearray(content)
    at = seed % (cut // 2)
    body[at : at + 4], body[cut : cut + 4] = body[cut : cut + 4], body[at : at + 4]
    assert_refused_or_unchanged(path, bytes(body), wanted)

"""OPEN against its reference, and what only OPEN does.

``tests/data/golden/open_<form>_random.npz`` holds what the official implementation computes over 20
steps with random meta-parameters: ``params`` ``[21, P]``, and what it is given, ``grads`` and
``cotangent`` ``[20, P]``, ``activations`` (one row of units per layer), ``keys`` and the two
proportions; ``hidden`` ``[P, units]`` and ``momenta`` ``[P, 6]`` after the last step; ``meta`` and
``metagrad``, the derivative of ``metaloss = sum(cotangent * params[1:])``, as flat vectors.
``layout`` (JSON, leaf to shape) cuts ``P``. The same with the published weights is read from the
reference data where they lie beside the repository; :func:`pack` brings them into this form.
"""

import functools
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import options
from golden import GOLDEN, cut
from places import REFERENCE

import l2o
from l2o.errors import CheckpointError, ConfigError, L2OError
from l2o.optimizers.imports import import_optimizer, import_weights
from l2o.optimizers.parts.layers import describe
from l2o.optimizers.parts.paths import named_leaves

FORMS = ("small", "larger", "ant")
PUBLISHED = {  # first digits of the SHA-256 digests
    "ant": "e1901cafe323d1c5",
    "asterix": "55d96c80dca70e4a",
    "breakout": "d7f0876c78736a0e",
    "freeway": "97ea3f8f9a6e3452",
    "gridworld": "16ebb93a79adbcbf",
    "multi": "9ba2dea70b0b308a",
    "spaceinvaders": "42845f4c0b6b4607",
}
INPUTS = ("grads", "activations", "training_prop", "batch_prop", "keys")
# Compiling is what takes time here; without XLA's newer emitter of fused loops it takes a third.
jit = functools.partial(jax.jit, compiler_options=options(old_emitters=True))


def existing(path):
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


# Reference vectors


def pack(stored):
    """Arrange the arrays of a reference file, one per leaf, as those in this repository."""
    leaves = json.loads(str(stored["cfg_json"]))["leaves"]
    units = [leaf for leaf in leaves if not leaf.endswith("kernel")]  # kernel and bias share them

    def steps(kind, names=leaves):
        arrays = [stored[f"{kind}/{name}"] for name in names]
        return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)

    def final(kind):
        arrays = [stored[f"hidden_final/{leaf}/{kind}"] for leaf in leaves]
        return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])

    metas = [name.removeprefix("meta/") for name in stored if name.startswith("meta/")]
    return {
        "layout": json.dumps({leaf: stored[f"grads/{leaf}"].shape[1:] for leaf in leaves}),
        "units": json.dumps({leaf: stored[f"activations/{leaf}"].shape[1:] for leaf in units}),
        **{kind: steps(kind) for kind in ("grads", "cotangent", "params")},
        "activations": steps("activations", units),
        "hidden": final("h"),
        "momenta": final("m"),
        "meta": stored["meta_flat"],
        "metagrad": np.concatenate([stored[f"metagrad/{name}"].ravel() for name in metas]),
        **{name: stored[name] for name in ("metaloss", "keys", "training_prop", "batch_prop")},
    }


def nest(flat):
    """Turn '/'-joined keys into nested dictionaries."""
    out = {}
    for path, leaf in flat.items():
        *folders, name = path.split("/")
        functools.reduce(lambda tree, folder: tree.setdefault(folder, {}), folders, out)[name] = (
            leaf
        )
    return out


def ravel(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@functools.cache
def derivative_of(optimizer, layout, units, nested):
    """Return the function behind a reference: metaloss, trajectory and state, and metagrad.

    All of it is flat outside the optimizer: every array more takes time to compile.
    """
    as_tree = nest if nested else dict
    shapes, widths = json.loads(layout), json.loads(units)

    def tree(vector):
        return as_tree(cut(vector, shapes))

    def metaloss(meta, stored):
        tx = optimizer.transform(meta)

        def step(carry, now):
            params, state = carry
            active = cut(now["activations"], widths)
            extra = {
                "progress": now["training_prop"],
                "batch_progress": now["batch_prop"],
                "activations": as_tree(
                    {leaf: active[leaf.replace("kernel", "bias")] for leaf in shapes}
                ),
                "key": now["keys"],
            }
            updates, state = tx.update(tree(now["grads"]), state, tree(params), **extra)
            updates = ravel(updates)
            return (params + updates, state), (params + updates, updates)

        start = stored["params"][0]
        inputs = {name: stored[name] for name in INPUTS}
        (_, state), (params, updates) = jax.lax.scan(step, (start, tx.init(tree(start))), inputs)
        return jnp.vdot(params, stored["cotangent"]), (params, updates, state)

    return jit(jax.value_and_grad(metaloss, has_aux=True))


@pytest.mark.parametrize("source", ["random", "published"])
@pytest.mark.parametrize("form", FORMS)
def test_reference(form, source):
    if source == "random":
        with np.load(GOLDEN / f"open_{form}_random.npz") as file:
            stored = dict(file)
    else:
        with np.load(existing(REFERENCE / f"golden/with_public_weights/open_{form}.npz")) as file:
            stored = pack(dict(file))
    texts = [str(stored.pop(name)) for name in ("layout", "units")]
    optimizer, meta = import_optimizer("open", "open", stored["meta"])
    derivative = derivative_of(optimizer, *texts, nested=form == "small")
    (metaloss, (params, updates, state)), metagrad = jax.device_get(derivative(meta, stored))
    np.testing.assert_allclose(params, stored["params"][1:], rtol=0, atol=2e-6)
    steps = np.diff(stored["params"], axis=0)
    np.testing.assert_allclose(updates, steps, rtol=0, atol=5e-7)
    np.testing.assert_allclose(state.hidden.T, stored["hidden"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(state.momenta.T, stored["momenta"], rtol=1e-3, atol=1e-10)
    np.testing.assert_allclose(metaloss, stored["metaloss"], rtol=1e-5)
    wanted = import_weights("open", optimizer, stored["metagrad"])
    atol = 5e-5 * np.abs(stored["metagrad"]).max()
    for ours, theirs in zip(jax.tree.leaves(metagrad), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights(name):
    path = existing(REFERENCE / f"open_weights/{name}_OPEN.npy")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(PUBLISHED[name])
    vector = np.load(path)
    optimizer, meta = import_optimizer("open", "open", {"flat": vector})
    assert optimizer.gru_features == (16 if name == "multi" else 8)
    np.testing.assert_array_equal(np.sort(ravel(meta)), np.sort(vector))
    state = optimizer.transform(meta).init(jnp.zeros(5))
    assert state.hidden.shape == (optimizer.gru_features, 5)


# Import


def vector_of(form="small"):
    with np.load(GOLDEN / f"open_{form}_random.npz") as file:
        return file["meta"]


def named_arrays():
    """The first and last arrays of the flat vector by name, as its description has them."""
    vector = vector_of()
    return {
        "gru_params/params/hn/bias": vector[:8],
        "gru_params/params/hn/kernel": vector[8:72].reshape(8, 8),
        "params/params/layers_4/scale": vector[1144:1160],
        "params/params/layers_6/bias": vector[1160:1163],
        "params/params/layers_6/kernel": vector[1163:].reshape(16, 3),
    }


def test_flat_vector_is_cut_as_described():
    meta = import_weights("open", "open", vector_of())
    named = named_arrays()
    np.testing.assert_array_equal(meta["gru"]["b_rec"], named["gru_params/params/hn/bias"])
    np.testing.assert_array_equal(meta["gru"]["w_rec"][16:].T, named["gru_params/params/hn/kernel"])
    np.testing.assert_array_equal(meta["norm"][1]["scale"], named["params/params/layers_4/scale"])
    np.testing.assert_array_equal(meta["dense"][2]["b"], named["params/params/layers_6/bias"])
    np.testing.assert_array_equal(meta["dense"][2]["w"].T, named["params/params/layers_6/kernel"])


def test_sizes_follow_from_the_vector():
    optimizer, meta = import_optimizer("open", "open", vector_of("larger"))
    assert optimizer == l2o.make_optimizer("open", gru_features=16, hidden_size=32)
    # The transformation takes them from the meta-parameters, whatever the optimizer says.
    state = l2o.make_optimizer("open").transform(meta).init(jnp.zeros(4))
    assert state.hidden.shape == (16, 4)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (np.zeros(1210, np.float32), r"1211 or 3571 numbers; got shape \(1210,\)"),
        (np.zeros((2, 1211), np.float32), r"got shape \(2, 1211\)"),
        ({"flat": np.array(["x"] * 1211)}, "dtype <U1"),
        ({"params/params/layers_6/bias": np.zeros(3)}, "'gru_params/params/hn/bias' is missing"),
        ({"flat": np.zeros(1211), "more": np.zeros(2)}, "'more' is unexpected"),
    ],
)
def test_arrays_that_do_not_fit(arrays, problem):
    with pytest.raises(CheckpointError, match=problem):
        import_weights("open", "open", arrays)


def test_vector_of_the_other_form_is_refused():
    with pytest.raises(CheckpointError, match=r"has shape \(16,\), want \(8,\)"):
        import_weights("open", l2o.make_optimizer("open"), vector_of("larger"))
    with pytest.raises(L2OError, match="optimizer of source 'open' 'linear'"):
        import_weights("open", "linear", vector_of())


# Networks and layers


def depths(tree):
    return {leaf.path: (leaf.critic, leaf.depth) for leaf in describe(tree)}


def test_layers_of_a_continuous_agent():
    dense = {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)}
    actor = {"params": {"Dense_0": dense, "Dense_1": dense, "log_std": np.zeros(2)}}
    tree = {"actor": actor, "critic": {"params": {"Dense_0": dense, "Dense_1": dense}}}
    got = depths(tree)
    assert got["actor/log_std"] == (False, 1.0)
    assert [got[f"actor/Dense_{i}/kernel"] for i in (0, 1)] == [(False, 0.0), (False, 0.5)]
    assert [got[f"critic/Dense_{i}/bias"] for i in (0, 1)] == [(True, 0.0), (True, 1.0)]
    assert list(got) == sorted(got)
    whole = named_leaves(tree)
    assert next(iter(whole)) == "actor/params/Dense_0/bias"
    assert depths(whole) == got  # '/'-joined keys say the same


@pytest.mark.parametrize(
    ("tree", "wanted"),
    [
        (np.zeros(3), {"": (False, 0.0)}),
        ({"w": 0, "b": 0}, {"b": (False, 0.0), "w": (False, 0.0)}),
        (
            [{"w": 0}, {"w": 0}, {"w": 0}],
            {"0/w": (False, 0), "1/w": (False, 0.5), "2/w": (False, 1)},
        ),
        (
            {"params": {"torso": {"w": 0}, "actor": {"w": 0}, "critic": {"w": 0}}},
            {
                "actor/w": (False, 0.0),
                "critic/w": (True, 0.0),
                "torso/w": (False, 1.0),
            },
        ),
        (
            {"policy": {"params": {"w": 0}}, "value": {"params": {"w": 0, "gone": None}}},
            {"policy/w": (False, 0.0), "value/w": (True, 0.0)},
        ),
        ({"ActorCritic_0": {"kernel": {"value": 0}}}, {"ActorCritic_0/kernel": (False, 0)}),
        ({"critic": 0, "log_std": 0}, {"critic": (True, 0.0), "log_std": (False, 0.0)}),
    ],
)
def test_networks_and_layers_of_other_trees(tree, wanted):
    assert depths(tree) == wanted


# The step


AGENT = {
    "actor": {"Dense_0": {"bias": (3,), "kernel": (4, 3)}, "log_std": (2,)},
    "critic": {"Dense_0": {"bias": (1,), "kernel": (4, 1)}},
}
ACTIVE = {
    "actor": {"Dense_0": {"bias": np.ones(3), "kernel": np.ones(3)}, "log_std": None},
    "critic": {"Dense_0": {"bias": np.ones(1), "kernel": None}},
}
DEFAULTS = {"progress": 0.0, "batch_progress": 0.0, "activations": ACTIVE, "key": None}


def numbers(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    draw = lambda shape: rng.normal(scale=scale, size=shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(draw, AGENT, is_leaf=is_shape)


def update(meta, grads, extra):
    tx, params = l2o.make_optimizer("open").transform(meta), numbers(0)
    return tx.update(grads, tx.init(params), params, **extra)[0]


compiled_update = jit(update)


@jit
def derivatives(meta):
    """Return the derivatives of a weighted sum of updates, by meta-parameters and by inputs."""

    def total(meta, grads, extra):
        updates = update(meta, grads, extra | {"key": jax.random.key(1)})
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, updates, numbers(2))))

    return jax.grad(total, argnums=(0, 1, 2))(meta, numbers(1), DEFAULTS)


def step(grads=None, meta=None, **extra):
    meta = import_weights("open", "open", vector_of()) if meta is None else meta
    grads = numbers(1) if grads is None else grads
    return jax.device_get(compiled_update(meta, grads, DEFAULTS | extra))


def test_untrained_optimizer_does_nothing():
    optimizer = l2o.make_optimizer("open")
    meta = optimizer.init_meta(jax.random.key(0))
    assert not ravel(meta).any()
    assert not ravel(step(meta=meta, key=jax.random.key(1))).any()
    derivative, *_ = jax.device_get(derivatives(meta))
    bias = np.asarray(derivative["dense"][-1]["b"])
    assert abs(bias[2]) > 1e-5 and np.abs(bias[:2]).max() < 1e-8
    derivative["dense"][-1]["b"] = np.zeros(3)
    assert not ravel(derivative).any()


def test_step_is_zero_mean_over_all_leaves_together():
    updates = step()
    assert abs(ravel(updates).sum()) < 1e-8
    assert abs(ravel(updates["critic"]).sum()) > 1e-6


def test_noise_moves_the_actor_alone():
    first, other = (step(key=jax.random.key(seed)) for seed in (0, 1))
    difference = jax.tree.map(np.subtract, first, step())
    critic = ravel(difference["critic"])  # the mean alone
    np.testing.assert_allclose(critic, critic[0], atol=1e-9)
    assert np.ptp(ravel(difference["actor"])) > 1e-5
    assert not np.allclose(ravel(first["actor"]), ravel(other["actor"]), atol=1e-6)


def test_inputs_matter_and_have_defaults():
    bare = compiled_update(import_weights("open", "open", vector_of()), numbers(1), {})
    np.testing.assert_allclose(ravel(step()), ravel(bare), atol=1e-9)
    uneven = {"bias": np.float32([0, 1, 3]), "kernel": np.float32([0, 1, 3])}
    activations = ACTIVE | {"actor": {"Dense_0": uneven, "log_std": None}}
    for change in ({"progress": 0.7}, {"batch_progress": 0.7}, {"activations": activations}):
        assert np.abs(ravel(step(**change)) - ravel(bare)).max() > 1e-7


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda a: {"actor": a["actor"]}, "no activations of critic/Dense_0/bias, critic/Dense_0"),
        (
            lambda a: a | {"actor": numbers(0)["actor"]},
            r"'actor/Dense_0/kernel' have shape \(4, 3\), want \(3,\)",
        ),
        (
            lambda a: a | {"critic": {"Dense_0": {"bias": np.ones(2), "kernel": None}}},
            r"want \(1,\)",
        ),
    ],
)
def test_activations_that_do_not_fit(change, problem):
    with pytest.raises(ValueError, match=problem):
        step(activations=change(ACTIVE))


def test_parameters_are_needed():
    tx = l2o.make_optimizer("open").transform(import_weights("open", "open", vector_of()))
    g = jnp.ones(3)
    with pytest.raises(ValueError, match="'open' needs the parameters"):
        tx.update(g, tx.init(g))


def test_nothing_flows_back_through_gradients_and_context():
    meta = import_weights("open", "open", vector_of())
    d_meta, *d_inputs = derivatives(meta)
    assert d_meta["gru"]["w_in"].any()
    assert not ravel(d_inputs).any()


def test_update_of_a_nan_is_nan_everywhere():
    grads = numbers(1)
    grads["critic"]["Dense_0"]["bias"][0] = np.nan
    assert np.isnan(ravel(step(grads))).all()


# The optax contract


def scan(tx, params, grads):
    """Return the updates of fixed parameters, ``[steps, ...]``."""
    step = lambda state, g: tx.update(g, state, params)[::-1]  # noqa: E731
    return jax.lax.scan(step, tx.init(params), grads)[1]


def test_kinds_of_leaves_clipping_schedules_and_vmap_do_not_change_the_step():
    meta = import_weights("open", "open", vector_of())
    metas = jax.tree.map(lambda leaf: np.stack([leaf, 0.8 * leaf]), meta)
    rng = np.random.default_rng(0)
    values = lambda *shape: rng.integers(-64, 65, shape).astype(np.float32) / 64  # noqa: E731

    def awkward(*lead):
        layer = {"w": values(*lead, 3, 2), "s": values(*lead), "empty": values(*lead, 0)}
        half = values(*lead, 2, 2).astype(jnp.bfloat16)
        return {"layer": {**layer, "gone": None}, "half": half}

    def plain(tree, lead):
        s = tree["layer"]["s"]
        layer = {"w": tree["layer"]["w"], "s": s.reshape(*s.shape[:lead], 1)}
        return {"layer": layer, "half": tree["half"].astype(np.float32)}

    params, grads = awkward(), awkward(3)

    def one(meta):
        tx = l2o.make_optimizer("open", grad_clip=0.5).transform(meta, lambda count: 0.1)
        return scan(tx, params, grads)

    def other(meta):
        clipped = jax.tree.map(lambda g: np.clip(g, -0.5, 0.5), plain(grads, 1))
        return scan(l2o.make_optimizer("open").transform(meta, 0.1), plain(params, 0), clipped)

    both = jit(lambda metas: (jax.vmap(one)(metas), jax.lax.map(other, metas)))
    got, want = jax.device_get(both(metas))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), got) == jax.tree.map(
        lambda x: ((2, *x.shape), x.dtype), grads
    )
    got = plain(got, 2)
    np.testing.assert_allclose(got["half"], want["half"], rtol=0.01, atol=1e-9)
    for key in ("w", "s"):
        a, b = got["layer"][key], want["layer"][key]
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9)
        assert not np.allclose(b[0], b[1], rtol=1e-3)


def test_wrappers_of_optax():
    """States keep shapes and dtypes inside every wrapper; traced only, nothing is compiled."""
    meta = import_weights("open", "open", vector_of())
    tx = l2o.make_optimizer("open").transform(meta, 0.1)
    params = {"actor": np.ones((3, 2), jnp.bfloat16), "critic": np.ones(4, np.float32)}
    on_actor = {"actor": True, "critic": False}
    wrapped = {
        "plain": tx,
        "chain": optax.chain(optax.clip_by_global_norm(1.0), tx, optax.scale(0.5)),
        "masked": optax.masked(tx, on_actor),
        "partition": optax.partition({True: tx, False: optax.adam(0.1)}, on_actor),
        "multi_steps": optax.MultiSteps(tx, 2),
        "if_finite": optax.apply_if_finite(tx, 3),
        "inject": optax.inject_hyperparams(
            lambda learning_rate: l2o.make_optimizer("open").transform(meta, learning_rate)
        )(learning_rate=0.1),
    }
    extra = {
        "value": 0.5,
        "progress": 0.1,
        "activations": {"actor": np.ones(2), "critic": np.ones(4)},
        "key": jax.random.key(0),
        "unknown": "x",
    }
    signature = lambda tree: jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)  # noqa: E731
    for label, outer in wrapped.items():
        state = jax.eval_shape(outer.init, params)
        updates, after = jax.eval_shape(
            lambda state, outer=outer: outer.update(params, state, params, **extra), state
        )
        assert signature(after) == signature(state), label
        assert signature(updates) == signature(params), label
    state = jax.eval_shape(tx.init, params)
    assert [leaf.dtype for leaf in state] == [jnp.int32, jnp.float32, jnp.float32]


@pytest.mark.parametrize("empty", [{}, {"a": None}, {"a": np.zeros((0, 3), np.float32)}])
def test_nothing_to_update(empty):
    tx = l2o.make_optimizer("open").transform(import_weights("open", "open", vector_of()))
    updates, state = tx.update(empty, tx.init(empty), empty, key=jax.random.key(0))
    assert jax.tree.map(np.shape, updates) == jax.tree.map(np.shape, empty)
    tx.update(empty, state, empty)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"gru_features": 0}, "gru_features.*got 0"),
        ({"hidden_size": 1.5}, "hidden_size.*got 1.5"),
        ({"grad_clip": 0}, "grad_clip.*got 0"),
    ],
)
def test_invalid_settings_are_refused(hyperparameters, message):
    with pytest.raises(ConfigError, match=message):
        l2o.make_optimizer("open", **hyperparameters)

"""STAR, small_fc, VeLO and Celo2 against reference vectors, and what is particular to them.

``tests/data/golden/<name>.npz`` holds what the reference implementations compute over 20 steps
from given gradients of 119 parameters: ``grads`` and ``cotangent`` ``[20, 119]``, ``params``
``[21, 119]`` before and after each step, ``meta`` (meta-parameters), ``metagrad`` (derivative of
``sum(cotangent * params[1:])`` with respect to them, that sum is ``metaloss``) and ``final``
(accumulators after the last step) as vectors, for VeLO ``loss``, and as ``trace`` ``[20, ...]`` the
LSTM's state and the memory of losses (VeLO) or the direction (Celo2). ``layout`` (JSON) names and
shapes the arrays that the vectors are cut into; the decays are the last axis of accumulators.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import options
from golden import GOLDEN, cut

import l2o
from l2o.errors import CheckpointError, ConfigError, L2OError
from l2o.optimizers.celo2 import orthogonalized
from l2o.optimizers.imports import import_optimizer
from l2o.optimizers.parts.loss_buffer import init_loss_buffer, loss_features, observe
from l2o.optimizers.parts.packing import Packing, largest_axes
from l2o.optimizers.parts.paths import named_leaves

pytestmark = pytest.mark.long

VELO = {"num_steps": 40}
LEGACY = {"use_bugged_next_lstm_state": True, "use_bugged_loss_features": True}
ADAM = {"regex_1d": "^(b|s)$", "weight_decay": 0.1}
REFERENCES = {  # name: optimizer, settings, learning rate
    "star_head": ("star", {}, 0.003),
    "star_head_noclip": ("star", {"grad_clip": None}, 0.003),
    "star_head_clipdecay": ("star", {}, 0.003),
    "star_head_wd": ("star", {"weight_decay": 0.1}, 0.003),
    "small_fc": ("small_fc", {}, 1.0),
    "velo_small": ("velo", VELO, 1.0),
    "velo_small_legacy": ("velo", VELO | LEGACY, 1.0),
    "celo2": ("celo2", ADAM, 0.001),
    "celo2_base": ("celo2", {"orthogonalize": False}, 0.001),
    "celo2_optax": ("celo2", {}, 0.001),
}
SOURCES = {name: "learned_optimization" for name in ("small_fc", "velo", "celo2")}
SOURCES["star"] = "optim4rl"
EXAMPLES = {"star": "star_head", "small_fc": "small_fc", "velo": "velo_small", "celo2": "celo2"}
# Compiling is what takes time here; unoptimised code from XLA's older emitters takes a third of it.
jit = functools.partial(jax.jit, compiler_options=options(level=0, old_emitters=True))


@functools.cache
def reference(name):
    """Return a reference's arrays by kind."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        stored = dict(file)
    layout = json.loads(str(stored.pop("layout")))
    of = {"metagrad": "meta"} | dict.fromkeys(("grads", "cotangent", "params"), "leaves")
    return {
        kind: cut(array, layout[shapes])
        if (shapes := of.get(kind, kind)) in layout
        else array  # losses
        for kind, array in stored.items()
    }


def example(name):
    """Return an optimizer and its meta-parameters, those of a reference."""
    return import_optimizer(SOURCES[name], name, reference(EXAMPLES[name])["meta"])


@functools.cache
def derivative_of(optimizer, rate):
    """Return the function behind a reference: the sum, parameters and states, the derivative."""

    def total(meta, params, grads, cotangent, losses):
        tx = optimizer.transform(meta, learning_rate=rate)

        def step(carry, inputs):
            params, state = carry
            g, loss = inputs
            updates, state = tx.update(g, state, params, value=loss)
            params = optax.apply_updates(params, updates)
            seen = state.inner if optimizer.name == "velo" else None
            return (params, state), (params, updates, seen)

        start = (params, tx.init(params))
        (_, state), (after, *trace) = jax.lax.scan(step, start, (grads, losses))
        products = jax.tree.map(jnp.vdot, cotangent, after)
        return sum(jax.tree.leaves(products)), (after, trace, state)

    return jit(jax.value_and_grad(total, has_aux=True))


@functools.cache
def computed(name):
    """Return what we compute for a reference, in its names and shapes."""
    registered, settings, rate = REFERENCES[name]
    ref = reference(name)
    optimizer, meta = import_optimizer(SOURCES[registered], registered, ref["meta"])
    optimizer = l2o.make_optimizer(registered, **optimizer.hyperparameters | settings)
    losses = ref.get("loss", np.ones(20, np.float32))
    start = {name: values[0] for name, values in ref["params"].items()}
    (loss, (params, trace, state)), gradient = jax.device_get(
        derivative_of(optimizer, rate)(meta, start, ref["grads"], ref["cotangent"], losses)
    )
    return {
        "params": {k: np.concatenate([start[k][None], v]) for k, v in params.items()},
        "metaloss": loss,
        "metagrad": {_haiku(name): x for name, x in named_leaves(gradient).items()},
        "final": _final(state, {name: x.shape for name, x in start.items()}),
        "trace": _trace(registered, rate, *trace),
    }


def _haiku(name):
    module, rest = name.split("/", 1) if "/" in name else ("", name)
    return f"{module}/~/{rest}" if module in ("nn", "ff_mod_stack") else name


def _final(state, shapes):
    if isinstance(state, optax.transforms.PartitionState):
        inner = {name: masked.inner_state for name, masked in state.inner_states.items()}
        return _final(inner["adam"], {name: shapes[name] for name in "bs"}) | _final(
            inner["network"], {name: shapes[name] for name in "kuvw"}
        )
    assert state.count == 20
    at, inner = Packing(list(shapes.values())), getattr(state.inner, "accumulators", state.inner)
    if hasattr(inner, "v"):  # Adam's
        kinds = {"m": (at, inner.m[None]), "rms": (at, inner.v[None])}
    else:
        kinds = {
            "m": (at, inner.m),
            "rms": (at, inner.rms),
            "v_row": (at.rows, inner.row),
            "v_col": (at.cols, inner.col),
        }
    names = [list(shapes)[i] for i in at.order]
    arrays = {
        f"{name}/{kind}": np.moveaxis(part, 0, -1)
        for kind, (place, array) in kinds.items()
        for name, part in zip(names, place.split(array), strict=True)
    }
    for name, shape in shapes.items():
        if len(shape) == 1 and f"{name}/v_row" in arrays:
            arrays[f"{name}/v_diag"] = arrays.pop(f"{name}/v_row")
            np.testing.assert_array_equal(arrays[f"{name}/v_diag"], arrays.pop(f"{name}/v_col"))
    return arrays


def _trace(registered, rate, updates, seen):
    if registered == "velo":
        order = Packing([update.shape[1:] for update in updates.values()]).order
        return {
            "lstm/hidden": seen.hidden[:, np.argsort(order)],
            "lstm/cell": seen.cell[:, np.argsort(order)],
            "loss_buffer/means": seen.loss.means,
            "loss_buffer/running_min": seen.loss.minimum,
        }
    return {f"{name}/step": -update / rate for name, update in updates.items()}


def errors(name):
    """Return the largest errors against a reference, absolute or relative to the tolerance's."""
    got, want = computed(name), reference(name)
    floor = 1e-6 if name.startswith("star") else 1e-7  # momenta that cancel are all rounding error
    largest = lambda kind: max(np.abs(x).max() for x in want[kind].values())  # noqa: E731

    def worst(kind, relative_to=None):
        pairs = [(np.reshape(got[kind][k], x.shape), x) for k, x in want[kind].items()]
        scale = (lambda x: 1.0) if relative_to is None else relative_to
        return float(max((np.abs(a - x) / scale(x)).max() for a, x in pairs))

    out = {
        "params": worst("params"),
        "final": worst("final", lambda x: floor + np.abs(x)),
        "metagrad": worst("metagrad") / largest("metagrad"),
        "metaloss": float(abs(got["metaloss"] / want["metaloss"] - 1)),
    }
    return out | ({"trace": worst("trace", lambda x: 1 + np.abs(x))} if "trace" in want else {})


@pytest.mark.parametrize("name", REFERENCES)
def test_reference(name):
    got, want = computed(name), reference(name)
    assert got["metagrad"].keys() == want["metagrad"].keys() == want["meta"].keys()
    assert got["final"].keys() == want["final"].keys()
    limits = {
        "params": 5e-6 if name.startswith("star") else 2e-6,
        "final": 1e-3,
        "metagrad": 1e-3,
        "metaloss": 1e-5,
        "trace": 5e-4 if name.startswith("velo") else 1e-4,
    }
    for kind, error in errors(name).items():
        assert error < limits[kind], (kind, error)


def test_references_exercise_what_they_should():
    """Clipped decays, several signs of VeLO's step size, and values beyond the gradient clip."""
    decays = reference("star_head_clipdecay")["meta"]
    assert 1 - 0.1 * np.exp(10 * decays["adafactor_decays"][0]) < 0
    assert max(np.abs(g).max() for g in reference("velo_small")["grads"].values()) > 1000
    dead = reference("velo_small")["metagrad"]
    assert not dead["rnn_params/linear/w"].any() and dead["rnn_params/linear_1/w"].any()
    assert not (dead["ff_mod_stack/~/w2"][..., 2]).any()


# The optax contract


STEPS = 3
MIXED = {"layer": {"w": (3, 2), "s": ()}, "gone": None, "empty": (0,), "half": (2, 2)}


def mixed(seed, steps=()):
    """Return a tree with a scalar, no leaf, an empty and a bfloat16 leaf, of exact bfloat16s."""
    rng = np.random.default_rng(seed)
    values = lambda *shape: rng.integers(-64, 65, (*steps, *shape)).astype(np.float32) / 64  # noqa: E731
    return {
        "layer": {"w": values(3, 2), "s": values()},
        "gone": None,
        "empty": values(0),
        "half": values(2, 2).astype(jnp.bfloat16),
    }


def plain(tree, lead=0):
    """Return the same numbers as float32 leaves with axes."""
    s = tree["layer"]["s"]
    return {
        "layer": {"w": tree["layer"]["w"], "s": s.reshape(*s.shape[:lead], 1)},
        "half": tree["half"].astype(np.float32),
    }


def scan(tx, params, grads):
    """Return the updates of fixed parameters, ``[steps, ...]``."""
    step = lambda state, g: tx.update(g, state, params, value=0.5)[::-1]  # noqa: E731
    return jax.lax.scan(step, tx.init(params), grads)[1]


@pytest.mark.parametrize("name", EXAMPLES)
def test_kinds_of_leaves_clipping_schedules_and_vmap_do_not_change_the_step(name):
    optimizer, meta = example(name)
    settings = optimizer.hyperparameters
    metas = jax.tree.map(lambda leaf: np.stack([leaf, 0.8 * leaf]), meta)
    params, grads = mixed(0), mixed(1, (STEPS,))

    def awkward(meta):
        clipping = l2o.make_optimizer(name, **settings | {"grad_clip": 0.5})
        return scan(clipping.transform(meta, lambda count: 0.1), params, grads)

    def simple(meta):
        tx = l2o.make_optimizer(name, **settings | {"grad_clip": None}).transform(meta, 0.1)
        clipped = jax.tree.map(lambda g: np.clip(g, -0.5, 0.5), plain(grads, 1))
        return scan(tx, plain(params), clipped)

    both = jit(lambda metas: (jax.vmap(awkward)(metas), jax.lax.map(simple, metas)))
    got, want = jax.device_get(both(metas))
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), got)
    assert shapes == jax.tree.map(lambda x: ((2, *x.shape), x.dtype), grads)
    got = jax.tree.map(lambda x: np.asarray(x, np.float32), plain(got, 2))
    np.testing.assert_allclose(got["half"], want["half"], rtol=0.01, atol=1e-9)
    for a, b in zip(jax.tree.leaves(got["layer"]), jax.tree.leaves(want["layer"]), strict=True):
        # Orthogonalisation (celo2) rounds relative to the largest entry.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-6 * np.abs(b).max())
        assert (np.abs(b) > 1e-7).any(axis=tuple(range(1, b.ndim))).all()
    two = want["half"]  # of different meta-parameters
    assert not np.allclose(two[0], two[1], rtol=1e-3)


@pytest.mark.parametrize("name", EXAMPLES)
def test_wrappers_of_optax(name):
    """States keep shapes and dtypes inside every wrapper; traced only, nothing is compiled."""
    optimizer, meta = example(name)
    tx = optimizer.transform(meta, 0.1)
    params = {"a": np.ones((3, 2), jnp.bfloat16), "b": np.ones(4, np.float32)}
    wrapped = {
        "plain": tx,
        "chain": optax.chain(optax.clip_by_global_norm(1.0), tx, optax.scale(0.5)),
        "masked": optax.masked(tx, {"a": True, "b": False}),
        "partition": optax.partition({0: tx, 1: optax.adam(0.1)}, {"a": 0, "b": 1}),
        "multi_steps": optax.MultiSteps(tx, 2),
        "if_finite": optax.apply_if_finite(tx, 3),
        "inject": optax.inject_hyperparams(
            lambda learning_rate: optimizer.transform(meta, learning_rate)
        )(learning_rate=0.1),
    }
    signature = lambda tree: jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)  # noqa: E731
    for label, outer in wrapped.items():
        state = jax.eval_shape(outer.init, params)
        updates, after = jax.eval_shape(
            lambda state, outer=outer: outer.update(params, state, params, value=0.5, unknown="x"),
            state,
        )
        assert signature(after) == signature(state), label
        assert signature(updates) == signature(params), label
    state = jax.eval_shape(tx.init, params)
    assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype("int32"), jnp.dtype("float32")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_parameters_are_needed(name):
    optimizer, meta = example(name)
    tx, g = optimizer.transform(meta), {"w": np.ones((3, 2), np.float32)}
    state = tx.init(g)
    for error in (L2OError, ValueError):  # ours, and what optax raises
        with pytest.raises(error, match=f"'{name}' needs the parameters.*update.updates, state, p"):
            tx.update(g, state)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("empty", [{}, {"a": None}, {"a": np.zeros((0, 3), np.float32)}])
def test_nothing_to_update(name, empty):
    optimizer, meta = example(name)
    tx = optimizer.transform(meta)
    updates, state = tx.update(empty, tx.init(empty), empty)
    assert jax.tree.map(np.shape, updates) == jax.tree.map(np.shape, empty)
    tx.update(empty, state, empty)


@pytest.mark.parametrize("name", EXAMPLES)
def test_gradients_and_losses_are_constants(name):
    """Nothing flows back through gradients and losses; through parameters it does."""
    optimizer, meta = example(name)
    p = np.float32([[0.5, -1.0], [2.0, 0.1]])

    def total(p, g, loss):
        tx = optimizer.transform(meta)
        state = tx.init(p)
        for _ in range(3 if name == "velo" else 1):
            updates, state = tx.update(g, state, p, value=loss, progress=loss)
        return updates.sum()

    d_p, *others = jit(jax.grad(total, (0, 1, 2)))(p, 0.3 * p.T, np.float32(0.5))
    assert d_p.any() and not any(x.any() for x in others)


# Initialisation and sizes


@pytest.mark.parametrize("name", EXAMPLES)
def test_initial_meta_parameters(name):
    small = {"lstm_hidden_size": 16, "param_inits": 4} if name == "velo" else {}
    meta = jit(l2o.make_optimizer(name, **small).init_meta)(jax.random.key(0))
    for path, leaf in named_leaves(meta).items():
        last = path.rsplit("/", 1)[-1]
        assert leaf.dtype == np.float32
        if last.startswith("w"):
            inputs = 30 if "w0__" in last else leaf.shape[-2]
            assert np.abs(leaf).max() <= 2 / np.sqrt(inputs) + 1e-6
            if leaf.size > 100:  # a normal cut at two sigmas has 0.88 of its sigma
                assert 0.75 < np.std(leaf) * np.sqrt(inputs) < 1.0
        else:  # biases, decays and the LSTM's first state
            assert not leaf.any()


def shapes_of(name, **sizes):
    optimizer = l2o.make_optimizer(name, **sizes)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    arrays = {_haiku(path): leaf.shape for path, leaf in named_leaves(shapes).items()}
    return {path: np.broadcast_to(np.float32(0), shape) for path, shape in arrays.items()}


@pytest.mark.parametrize(
    ("name", "sizes", "numbers"),
    [
        ("star", {}, 207),
        ("small_fc", {}, 197),
        ("small_fc", {"hidden_size": 32, "hidden_layers": 3}, 3465),
        ("star", {"hidden_size": 7, "hidden_layers": 1}, 319),
        ("celo2", {}, 347),
        ("celo2", {"ff_hidden_size": 5, "ff_hidden_layers": 3}, None),
        ("velo", {"lstm_hidden_size": 8, "param_inits": 4}, 1985),
        ("velo", {"lstm_hidden_size": 512, "param_inits": 256}, 2_320_385),  # as released
    ],
)
def test_structure_follows_from_the_arrays(name, sizes, numbers):
    arrays = shapes_of(name, **sizes)
    if numbers is not None:
        assert sum(array.size for array in arrays.values()) == numbers
    optimizer, meta = import_optimizer(SOURCES[name], name, arrays)
    assert optimizer == l2o.make_optimizer(name, **sizes)
    params = {"w": np.ones((3, 2), np.float32), "s": np.ones((), np.float32)}

    def step(meta):  # the sizes are not repeated
        tx = l2o.make_optimizer(name).transform(meta)
        return tx.update(params, tx.init(params), params)[0]

    updates = jax.eval_shape(step, meta)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)


# Import


@pytest.mark.parametrize("name", EXAMPLES)
def test_imported_weights_can_be_saved(name, tmp_path):
    optimizer, meta = example(name)
    l2o.save_weights(tmp_path / "w.safetensors", optimizer, meta)
    loaded, loaded_meta, _ = l2o.load_weights(tmp_path / "w.safetensors")
    assert loaded == optimizer
    jax.tree.map(np.testing.assert_array_equal, loaded_meta, meta)


def test_arrays_may_be_nested_and_of_other_precision():
    flat = reference("velo_small")["meta"]
    nested = {}
    for path, array in flat.items():
        *parents, last = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array.astype(np.float64)
    want = l2o.import_weights("learned_optimization", "velo", flat)
    jax.tree.map(
        np.testing.assert_array_equal,
        l2o.import_weights("learned_optimization", "velo", nested),
        want,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(want)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("by", ["name", "optimizer"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_array_that_does_not_fit_is_named(name, by):
    arrays = dict(reference(EXAMPLES[name])["meta"])
    optimizer = name if by == "name" else example(name)[0]
    first, second = sorted(path for path in arrays if path.endswith(("b0", "b1")))
    want = arrays[first].shape
    del arrays[second]
    arrays |= {first: np.zeros(99, np.float32), "extra": np.zeros(3, np.float32)}
    with pytest.raises(CheckpointError) as caught:
        l2o.import_weights(SOURCES[name], optimizer, arrays)
    message = str(caught.value)
    assert f"{SOURCES[name]} arrays of '{name}' do not fit" in message and "\n" not in message
    assert f"'{second}' is missing" in message and "'extra' is unexpected" in message
    assert f"'{first}' has shape (99,), want {want}" in message
    assert message.count(";") == 2  # and nothing else


def test_sizes_of_a_given_optimizer_are_checked():
    arrays = shapes_of("small_fc", hidden_size=32)
    with pytest.raises(CheckpointError, match=r"'nn/~/w1' has shape \(32, 32\), want \(4, 4\)"):
        l2o.import_weights("learned_optimization", l2o.make_optimizer("small_fc"), arrays)


@pytest.mark.parametrize(
    ("source", "name", "arrays", "message"),
    [
        ("learned_optimisation", "velo", {}, "Did you mean 'learned_optimization'"),
        ("learned_optimization", "star", {}, "optimizer of source.*Known: celo2, small_fc, velo"),
        ("optim4rl", "velo", {}, "star"),
        ("optim4rl", "star", np.zeros(207), "got ndarray, want arrays by name"),
        ("optim4rl", "star", {"rms_decays": np.array(["x"])}, "'rms_decays' has dtype <U1"),
        ("optim4rl", "star", {}, "'nn/~/w0' is missing"),
    ],
)
def test_what_cannot_be_imported(source, name, arrays, message):
    with pytest.raises(L2OError, match=message):
        l2o.import_weights(source, name, arrays)


# Settings


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("star", {"grad_clip": 0}, "grad_clip must be a positive number; got 0"),
        ("star", {"hidden_size": True}, "hidden_size must be a positive integer; got True"),
        ("star", {"weight_decay": -1.0}, "weight_decay must be a number of at least 0"),
        ("small_fc", {"step_mult": float("nan")}, "step_mult must be a positive number; got nan"),
        ("velo", {"num_steps": 1e4}, "num_steps must be a positive integer; got 10000.0"),
        ("velo", {"use_bugged_loss_features": "no"}, "must be true or false; got 'no'"),
        ("celo2", {"regex_1d": "("}, "regex_1d must be a regular expression"),
        ("celo2", {"rms_decay": 1.0}, r"rms_decay must be in \[0, 1\); got 1.0"),
        ("celo2", {"step_mult": 1.0}, "step_mult"),
    ],
)
def test_invalid_settings(name, settings, message):
    with pytest.raises(ConfigError, match=f"optimizer '{name}'.*{message}"):
        l2o.make_optimizer(name, **settings)


# Parts


def test_largest_axes():
    shapes = {(7,): (), (6, 4): (0, 1), (5, 7): (1, 0), (2, 2, 3, 4): (3, 2), (3, 3): (1, 0)}
    assert {shape: largest_axes(shape) for shape in shapes} == shapes


@pytest.mark.parametrize("limit", [0, 2**20])
def test_packing(limit, monkeypatch):
    """Means, and what comes back, are those of the leaves, in large and in small trees."""
    monkeypatch.setattr("l2o.optimizers.parts.packing._INDEXED", limit)
    monkeypatch.setattr("l2o.optimizers.parts.packing._INDEXED", limit)
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (5,), (2, 3, 2, 4), (1,), (6, 2)]
    leaves = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    at = Packing(shapes)
    x = at.pack(leaves)
    assert x.shape == (at.size,) == (12 + 5 + 48 + 1 + 12,) and at.vectors == 6
    jax.tree.map(np.testing.assert_array_equal, at.unpack(x), leaves)
    two = jnp.stack([x, 2 * x])
    averaged = {  # axes of each leaf
        "rows": ([0], [], [3], [], [0]),
        "cols": ([1], [], [1], [], [1]),
        "slices": ([0, 1], [0], [1, 3], [0], [0, 1]),
        "leaves": ([0, 1], [0], [0, 1, 2, 3], [0], [0, 1]),
        "matrices": ([0, 1], [0], [2, 3], [0], [0, 1]),
    }
    for name, axes in averaged.items():
        onto = getattr(at, name)
        means = at.mean(two, onto)
        got, moved = onto.split(means), two - at.spread(means, onto)
        for i, part, difference in zip(at.order, got, at.split(moved), strict=True):
            mean = leaves[i].mean(tuple(axes[i]), keepdims=True) if axes[i] else leaves[i]
            np.testing.assert_allclose(part[1], 2 * mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(difference[0], leaves[i] - mean, rtol=1e-5, atol=1e-6)
        (back,) = jax.vjp(lambda x, onto=onto: at.spread(x, onto), means)[1](two)
        np.testing.assert_allclose(back, at.total(two, onto), rtol=1e-5, atol=1e-6)


def test_velo_without_a_loss_and_with_progress():
    optimizer, meta = example("velo")
    optimizer = l2o.make_optimizer("velo", **optimizer.hyperparameters | VELO)
    params = {"w": np.float32([[0.5, -1.0], [2.0, 0.1]]), "b": np.float32([0.3])}

    def steps(meta):
        tx = optimizer.transform(meta)
        start = tx.init(params)
        told, _ = tx.update(params, start, params, value=2.0)
        silent, after = tx.update(params, start, params)
        counted, _ = tx.update(params, after, params)
        progress, _ = tx.update(params, after, params, progress=1 / 40)
        late, _ = tx.update(params, after, params, progress=0.9)
        return told, silent, counted, progress, late, after.inner.loss

    told, silent, counted, progress, late, loss = jax.device_get(jit(steps)(meta))
    jax.tree.map(np.testing.assert_array_equal, told, silent)  # features of a first loss are zero
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), counted, progress)
    assert not np.allclose(late["w"], progress["w"], rtol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, loss, jax.device_get(init_loss_buffer()))


def test_loss_features():
    """Averages at their minimum give -1; a spike is cut at twice the largest average."""
    losses = [4.0, 4.0, 3.0, 2.0, 1.0]
    buffer = init_loss_buffer()
    for i, loss in enumerate(losses):
        buffer = observe(buffer, jnp.float32(loss), 1000)
        if i < 2:
            assert not loss_features(buffer, 1000).any()
    assert buffer.count == 5 and (loss_features(buffer, 1000) == -1).all()
    spiked = observe(buffer, jnp.float32(1e6), 1000)
    assert 0.1 < (spiked.means - buffer.means).max() < 1
    assert (loss_features(spiked, 1000) > -0.1).all()


def test_orthogonalized():
    rng = np.random.default_rng(0)
    for shape in ((6, 4), (4, 9), (2, 3, 5, 5)):
        x = rng.normal(size=shape).astype(np.float32)
        values = np.linalg.svd(jit(orthogonalized)(x), compute_uv=False)
        assert (values > 0.3).mean() > 0.9 and values.max() < 1.3
    zero = jit(jax.grad(lambda x: orthogonalized(x).sum()))(jnp.zeros((2, 3)))
    assert jnp.isfinite(zero).all()


def test_celo2_selects_leaves_by_path():
    optimizer, meta = example("celo2")
    optimizer = l2o.make_optimizer("celo2", **optimizer.hyperparameters | {"regex_1d": "bias$"})
    leaf = np.ones((2, 3), np.float32)
    params = {"dense": {"bias": leaf[0], "kernel": leaf, "none": None}}
    states = optimizer.transform(meta).init(params).inner_states
    assert states["adam"].inner_state.inner.m.shape == (3,)
    assert states["network"].inner_state.inner.m.shape == (3, 6)

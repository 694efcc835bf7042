"""Leaves of all kinds: what optax takes works, what cannot be trained is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from every import LEARNED, assert_close, make, types
from jax.dtypes import float0

from l2o.errors import L2OError, LeafError, MissingInputError

WRONG = {
    "complex64": np.ones(2, np.complex64),
    "int32": np.ones(2, np.int32),
    "uint8": jnp.ones(2, jnp.uint8),
    "bool": np.ones(2, bool),
    "float0": np.zeros(2, float0),
    "key<fry>": jax.random.split(jax.random.key(0)),
    "complex": 1j,
    "str": "one",
    "function": lambda x: x,
}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("kind", WRONG)
def test_leaves_that_cannot_be_trained_are_refused(name, kind):
    tx, sound = make(name), {"w": np.ones(2, np.float32)}
    bad = {"w": np.ones(2, np.float32), "layer": {"z": WRONG[kind]}}
    for attempt in (lambda: tx.init(bad), lambda: tx.update(bad, tx.init(sound), bad)):
        with pytest.raises(LeafError, match=f"'{name}'.*'layer/z' is .*{kind}") as error:
            attempt()
        assert isinstance(error.value, TypeError) and isinstance(error.value, L2OError)


@pytest.mark.parametrize("name", ["small_fc", "open", "celo2", "velo", "star"])
def test_parameters_that_cannot_be_trained_are_refused(name):
    tx, g = make(name), {"z": np.ones(2, np.float32)}
    with pytest.raises(LeafError, match="of the parameters, 'z' is complex64"):
        tx.update(g, tx.init(g), {"z": np.ones(2, np.complex64)})


def test_python_numbers_inside_jit_are_what_they_are_outside():
    tx = make("optim4rl_m")
    whole, _ = tx.update(1, tx.init(1), 1)
    compiled, _ = jax.jit(lambda g: tx.update(g, tx.init(g), g))(1)
    wanted, _ = tx.update(np.float32(1), tx.init(np.float32(1)), np.float32(1))
    assert types((whole, compiled)) == types((wanted, wanted))
    assert_close((whole, compiled), (wanted, wanted))
    with pytest.raises(LeafError, match="it is int32"):
        tx.init(jnp.int32(1))


NUMBERS = {
    "Python float": (0.5, 1.0),
    "Python int": (1, 2),
    "NumPy scalar": (np.float32(0.5), np.float32(1)),
    "NumPy float64": (np.full((2,), 0.5), np.ones(2)),
    "no axis": (np.array(0.5, np.float32), np.array(1, np.float32)),
    "Fortran order": (np.float32([[1, 2], [3, 4]]).T / 4, np.float32([[1, 2], [3, 4]]).T),
    "empty": (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)),
    "nothing": (None, None),
    "bfloat16": (jnp.full(2, 0.5, jnp.bfloat16), jnp.ones(2, jnp.bfloat16)),
    "float16": (jnp.full(2, 0.5, jnp.float16), jnp.ones(2, jnp.float16)),
    "float8": (jnp.full(2, 0.5, jnp.float8_e4m3fn), jnp.ones(2, jnp.float8_e4m3fn)),
}


@pytest.mark.parametrize("name", ["adam", *LEARNED])
def test_leaves_that_optax_takes(name):
    """All in one tree: updates are those of the same numbers in float32, in the gradients' form."""
    tx = optax.adam(0.01) if name == "adam" else make(name)
    grads, params = ({kind: pair[i] for kind, pair in NUMBERS.items()} for i in (0, 1))
    state = tx.init(params)
    updates, after = tx.update(grads, state, params)
    full = jax.tree.map(lambda x: jnp.asarray(np.float32(x)), (grads, params))
    wanted, _ = tx.update(full[0], tx.init(full[1]), full[1])
    for kind in NUMBERS:
        if name == "adam" and kind in ("float16", "float8", "Python int"):
            continue  # computed in the leaf's dtype
        if kind in ("bfloat16", "float16", "float8"):
            dtype = grads[kind].dtype
            least = float(jnp.finfo(dtype).smallest_subnormal)
            rounded = [np.float32(tree.astype(dtype)) for tree in (updates[kind], wanted[kind])]
            np.testing.assert_allclose(*rounded, rtol=float(jnp.finfo(dtype).eps), atol=least)
        else:
            assert_close(updates[kind], wanted[kind])
        if kind not in ("Python float", "Python int", "nothing"):
            leaf = jnp.result_type(grads[kind])
            assert types(updates[kind]) == [(np.shape(grads[kind]), leaf)]
    if name != "adam":
        assert types(after) == types(state)


@pytest.mark.parametrize("name", LEARNED)
def test_a_python_float_alone(name):
    tx = make(name)
    update, _ = tx.update(0.5, tx.init(1.0), 1.0)
    assert update.shape == () and update.dtype == jnp.float32 and jnp.isfinite(update)


def test_shapes_make_a_state():
    tx, params = make("velo"), {"w": jnp.ones((2, 3), jnp.bfloat16)}
    shapes = jax.eval_shape(lambda p: p, params)
    assert types(tx.init(shapes)) == types(tx.init(params))


@pytest.mark.parametrize("params", [{"v": np.ones(2)}, {"w": np.ones(3)}, {"w": "one"}, 3.0])
def test_parameters_that_do_not_fit(params):
    tx, g = make("star"), {"w": np.ones(2, np.float32)}
    with pytest.raises(MissingInputError, match=r"'star' needs the parameters.* for w"):
        tx.update(g, tx.init(g), params)
    coordinate_wise = make("linear")  # reads no parameters
    assert coordinate_wise.update(g, coordinate_wise.init(g), params)[0]["w"].shape == (2,)

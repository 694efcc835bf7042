"""Arrays as they come: whatever their memory is like, a file holds their values."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import l2o
from l2o.errors import CheckpointError
from l2o.files import plain_array, write_arrays
from l2o.optimizers.weights import digest_of

VALUES = np.arange(24, dtype=np.float32).reshape(4, 6)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "part": lambda x: np.pad(x, 1)[1:-1, 1:-1],
    "big endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "read-only": read_only,
    "broadcast": lambda x: np.broadcast_to(x[:1, :1], x.shape),
    "Fortran, big endian": lambda x: np.asfortranarray(x.astype(x.dtype.newbyteorder(">"))),
    "no axis": lambda x: x[1, 1].reshape(()),
    "NumPy scalar": lambda x: x[1, 1],
    "empty": lambda x: x[:0].T,
    "jax": jnp.asarray,
    "matrix": lambda x: np.asmatrix(x).T,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "int16", "bfloat16", "float16"])
def test_any_layout_is_written_as_its_values(tmp_path, layout, dtype):
    if dtype == "bfloat16" and "endian" in layout:
        pytest.skip("NumPy has no such type in another byte order")
    array = LAYOUTS[layout](VALUES.astype(getattr(ml_dtypes, dtype, dtype)))
    plain = plain_array(array)
    assert plain.shape == np.shape(array) and type(plain) is np.ndarray
    assert plain.flags.c_contiguous and plain.dtype.isnative
    header = {"b": "2", "a": "1", "digest": digest_of({}, {"x": np.asarray(array)})}
    write_arrays(tmp_path / "x", {"x": array}, header)
    back = load_file(tmp_path / "x")["x"]
    np.testing.assert_array_equal(np.float64(back), np.float64(np.asarray(array)))
    assert back.shape == np.shape(array)
    assert digest_of({}, {"x": back}) == header["digest"]


def test_equal_arrays_are_equal_files(tmp_path):
    header = {name: name for name in "fedcba"}
    for i, layout in enumerate((LAYOUTS["C"], LAYOUTS["Fortran"])):
        write_arrays(tmp_path / str(i), {"x": layout(VALUES)}, header)
    content = (tmp_path / "0").read_bytes()
    assert content == (tmp_path / "1").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    assert list(json.loads(content[8:end])["__metadata__"]) == sorted(header)


@pytest.mark.parametrize("layout", ["Fortran", "strided", "big endian", "jax", "read-only"])
def test_weights_of_any_layout(tmp_path, layout):
    optimizer = l2o.make_optimizer("optim4rl_b")
    meta = jax.tree.map(np.asarray, optimizer.init_meta(jax.random.key(0)))
    l2o.save_weights(tmp_path / "w", optimizer, jax.tree.map(LAYOUTS[layout], meta))
    _, back, _ = l2o.load_weights(tmp_path / "w")
    assert all(map(np.array_equal, jax.tree.leaves(meta), jax.tree.leaves(back)))
    l2o.save_weights(tmp_path / "plain", optimizer, meta)
    assert (tmp_path / "w").read_bytes() == (tmp_path / "plain").read_bytes()


def test_weights_that_do_not_fit_are_still_refused(tmp_path):
    optimizer = l2o.make_optimizer("optim4rl_b")
    meta = optimizer.init_meta(jax.random.key(0))
    turned = jax.tree.map(lambda x: np.asarray(x).T, meta)
    with pytest.raises(CheckpointError, match="has shape"):
        l2o.save_weights(tmp_path / "w", optimizer, turned)
    assert not (tmp_path / "w").exists()

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save

import l2o
from l2o.cli import build_parser
from l2o.errors import CheckpointError, L2OError
from l2o.optimizers.parts.paths import named_leaves

SETTINGS = {
    "optim4rl_a": {"processing": "clip", "mlp_sizes": (4,), "eps": 1e-17},
    "optim4rl_b": {"grad_clip": None, "hidden_size": 5, "features": ("progress",)},
    "linear": {},
    "l2lgd2": {"p": 7.0},
    "open": {"gru_features": 3, "hidden_size": 5, "grad_clip": 2.0},
    "star": {"weight_decay": 0.1},
    "small_fc": {"hidden_layers": 3},
    "velo": {"lstm_hidden_size": 8, "param_inits": 4},
    "celo2": {"regex_1d": "bias$"},
}


def random_meta(optimizer, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(scale=0.3, size=x.shape).astype(np.float32), shapes)


@pytest.fixture
def saved(tmp_path):
    optimizer = l2o.make_optimizer("optim4rl_b")
    path = tmp_path / "weights.safetensors"
    l2o.save_weights(path, optimizer, random_meta(optimizer), {"learning_rate": 0.05})
    return path


def write(path, arrays, **changes):
    """Write a weight file of `optim4rl_b` with other arrays or header entries."""
    hyperparameters = json.dumps(l2o.make_optimizer("optim4rl_b").hyperparameters)
    header = {"format": "l2o-weights-1", "optimizer": "optim4rl_b", "metadata": "{}"}
    header = header | {"hyperparameters": hyperparameters} | changes
    path.write_bytes(save(arrays, {k: v for k, v in header.items() if v is not None}))
    return path


# Round trip


@pytest.mark.parametrize("name", l2o.list_optimizers())
def test_round_trip_is_exact(tmp_path, name):
    optimizer = l2o.make_optimizer(name, **SETTINGS.get(name, {}))
    meta = random_meta(optimizer)
    metadata = {"recipe": "x", "outer_step": 40, "learning_rate": 0.003, "nested": {"a": [1, None]}}
    metadata |= {"licence": "MIT", "code_version": {"l2o-rl": "0", "git_commit": None}}
    path = tmp_path / "new folder" / "w.safetensors"
    l2o.save_weights(path, optimizer, meta, metadata)
    loaded, loaded_meta, loaded_metadata = l2o.load_weights(str(path))
    assert loaded == optimizer and loaded_metadata == metadata
    assert jax.tree.structure(loaded_meta) == jax.tree.structure(meta)
    for a, b in zip(jax.tree.leaves(meta), jax.tree.leaves(loaded_meta), strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_array_equal(a, b)
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]  # no partial file


def test_names_in_the_file(saved):
    assert set(load_file(saved)) == {
        *(f"gru{i}/{name}" for i in (1, 2) for name in ("w_in", "b_in", "w_rec", "b_rec")),
        *(f"mlp{i}/0/{name}" for i in (1, 2) for name in ("w", "b")),
    }


@pytest.mark.parametrize("padding", range(0, 256, 8))
def test_any_length_of_the_header_is_read(tmp_path, padding):
    """A file starts with this length: for one in 32 its first byte is that of a pickle."""
    optimizer, path = l2o.make_optimizer("optim4rl_b"), tmp_path / "w.safetensors"
    l2o.save_weights(path, optimizer, random_meta(optimizer), {"note": "x" * padding})
    assert l2o.load_weights(path)[2]["note"] == "x" * padding


def test_licence_and_version_are_always_stored(saved):
    metadata = l2o.load_weights(saved)[2]
    version = {"l2o-rl": l2o.__version__}
    assert metadata == {"learning_rate": 0.05, "licence": None, "code_version": version}


def test_other_precisions_become_float32(tmp_path, saved):
    arrays = {name: array.astype(np.float16) for name, array in load_file(saved).items()}
    _, meta, _ = l2o.load_weights(write(tmp_path / "half.safetensors", arrays))
    assert {leaf.dtype for leaf in jax.tree.leaves(meta)} == {jnp.dtype("float32")}


# Refused files


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def pickled(bomb, protocol):
    return pickle.dumps(bomb, protocol=protocol)


def npz(bomb):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([bomb], object))
    return buffer.getvalue()


def npy(bomb):
    buffer = io.BytesIO()
    np.save(buffer, np.array([bomb], object))
    return buffer.getvalue()


def torch_archive(bomb):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(bomb))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pkl", "w.pt", "w.npz"])
@pytest.mark.parametrize(
    "make",
    [
        *(lambda bomb, p=p: pickled(bomb, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
        npz,
        npy,
        torch_archive,
    ],
)
def test_nothing_is_executed(tmp_path, name, make):
    target, path = tmp_path / "executed", tmp_path / name
    content = make(Bomb(target))
    assert str(target).encode() in content  # it would work
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        l2o.load_weights(path)
    assert not target.exists()
    message = str(caught.value)
    assert str(path) in message and "safetensors" in message and "\n" not in message
    if content[:1] == b"\x80" or content[:2] == b"PK" or path.suffix in (".pkl", ".pt"):
        assert "pickle or archive" in message and "execute code" in message
    pickle.loads(pickled(Bomb(target), 4))
    assert target.is_dir()  # indeed


def test_truncated_file(saved):
    content = saved.read_bytes()
    for length in (0, 4, 8, 9, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        # Too short for its opening brace, a file may start as a pickle does.
        message = "not a complete safetensors file" if length > 8 else "safetensors"
        with pytest.raises(CheckpointError, match=message):
            l2o.load_weights(saved)


def test_trailing_and_random_bytes(saved):
    content = saved.read_bytes()
    for other in (content + b"x", np.random.default_rng(0).bytes(500), b"\xff" * 20, b"{}"):
        saved.write_bytes(other)
        with pytest.raises(CheckpointError, match="not a complete safetensors file"):
            l2o.load_weights(saved)


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match=f"{path}: no such weight file"):
            l2o.load_weights(path)


def test_foreign_safetensors(tmp_path):
    path = tmp_path / "foreign.safetensors"
    for header, found in ((None, "None"), ({"format": "pt"}, "'pt'")):
        path.write_bytes(save({"weight": np.zeros(3)}, header))
        with pytest.raises(CheckpointError, match=f"not an l2o weight file .format {found}"):
            l2o.load_weights(path)


def without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda a: without(a, "gru1/w_rec"), "'gru1/w_rec' is missing"),
        (lambda a: a | {"gru3/w_rec": a["gru1/w_rec"]}, "'gru3/w_rec' is unexpected"),
        (
            lambda a: a | {"mlp1/0/w": np.zeros((2, 8), np.float32)},
            r"'mlp1/0/w' has shape \(2, 8\), want \(1, 8\)",
        ),
        (
            lambda a: a | {"gru2/w_in": a["gru2/w_in"].T.copy()},
            r"'gru2/w_in' has shape \(1, 24\), want \(24, 1\)",
        ),
    ],
)
def test_arrays_that_do_not_fit(saved, change, problem):
    write(saved, change(load_file(saved)))
    with pytest.raises(CheckpointError, match=f"not weights of 'optim4rl_b': {problem}"):
        l2o.load_weights(saved)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(saved, value):
    arrays = load_file(saved)
    arrays["gru2/w_rec"][3, 1] = value
    write(saved, arrays)
    with pytest.raises(CheckpointError, match="not finite floating-point numbers: 'gru2/w_rec'"):
        l2o.load_weights(saved)
    optimizer = l2o.make_optimizer("optim4rl_b")
    meta = jax.tree.map(lambda leaf: np.full_like(leaf, value), random_meta(optimizer))
    with pytest.raises(CheckpointError, match="not finite floating-point"):
        l2o.save_weights(saved, optimizer, meta)


def test_types_that_are_not_real_numbers(saved):
    arrays = load_file(saved)
    write(saved, arrays | {"gru1/b_rec": arrays["gru1/b_rec"].astype(np.complex64)})
    with pytest.raises(CheckpointError, match="not finite floating-point numbers: 'gru1/b_rec'"):
        l2o.load_weights(saved)
    header = json.dumps({"x": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}).encode()
    saved.write_bytes(len(header).to_bytes(8, "little") + header + b"0")
    with pytest.raises(CheckpointError, match=r"not weights in a usable type .*float8"):
        l2o.load_weights(saved)


@pytest.mark.parametrize("kind", ["array", "learning rate", "type"])
def test_change_that_fits_is_noticed(saved, kind):
    content = saved.read_bytes()
    changed = {
        "array": content[:-1] + bytes([content[-1] ^ 1]),
        "learning rate": content.replace(b"0.05", b"0.06"),
        "type": content.replace(b'"F32"', b'"I32"', 1),
    }[kind]
    assert changed != content
    saved.write_bytes(changed)
    with pytest.raises(CheckpointError, match="changed since it was written"):
        l2o.load_weights(saved)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"optimizer": "optim4rl_a"}, "not weights of 'optim4rl_a'|damaged header"),
        ({"optimizer": "optim4rl_z"}, "optim4rl_z"),
        ({"optimizer": None}, "optimizer"),
        ({"hyperparameters": None}, "hyperparameters"),
        ({"metadata": None}, "metadata"),
        ({"hyperparameters": "{"}, "header"),
        ({"hyperparameters": "[1]"}, "header"),
        ({"hyperparameters": '{"width": 3}'}, "width"),
        ({"hyperparameters": '{"hidden_size": "x"}'}, "hidden_size"),
        ({"metadata": "{"}, "header"),
        ({"metadata": "3"}, "header"),
    ],
)
def test_damaged_header(saved, changes, problem):
    write(saved, load_file(saved), **changes)
    with pytest.raises(CheckpointError, match=problem) as caught:
        l2o.load_weights(saved)
    assert str(saved) in str(caught.value)


# l2o.load


@pytest.mark.parametrize("rate", [None, 0.02, lambda count: 0.05 * 0.98**count])
def test_load_trains_a_quadratic(tmp_path, rate):
    optimizer = l2o.make_optimizer("optim4rl_b")
    meta = jax.tree.map(lambda leaf: 0.3 * leaf, random_meta(optimizer))
    path = tmp_path / "w.safetensors"
    l2o.save_weights(path, optimizer, meta, {"learning_rate": 0.05})
    tx = l2o.load(path, learning_rate=rate)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    loss = lambda p: ((p["x"] - 1.0) ** 2).sum() + (p["y"] ** 2).sum()  # noqa: E731

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), loss(params)

        return jax.lax.scan(step, (params, tx.init(params)), length=200)

    (params, _), losses = train({"x": jnp.array([-1.0, 2.0]), "y": jnp.array(1.5)})
    assert losses[0] > 5 and loss(params) < 0.05


def test_load_needs_a_learning_rate(saved):
    write(saved, load_file(saved))
    with pytest.raises(CheckpointError, match="stores no learning rate"):
        l2o.load(saved)
    l2o.load(saved, learning_rate=0.1)


def test_load_takes_names_of_classical_optimizers():
    grads = jnp.array([3.0, -0.5])
    tx = l2o.load("sgd", learning_rate=0.1)
    updates, _ = tx.update(grads, tx.init(grads), value=1.0)
    np.testing.assert_allclose(updates, [-0.1, 0.05], rtol=1e-6)  # clipped to 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adm", "unknown weight file or classical optimizer 'adm'. Did you mean 'adam'"),
        ("adam", "optimizer 'adam' needs a learning rate"),
        ("optim4rl_b", r"a learned optimizer: load a weight file, or .*make_optimizer\('optim4"),
        ("adam.safetensors", "adam.safetensors: no such weight file"),
        ("./adam", "adam: no such weight file"),
        (Path("adam"), "adam: no such weight file"),
        ("", "no such weight file"),
    ],
)
def test_load_of_what_is_neither_file_nor_name(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(L2OError, match=message):
        l2o.load(name)


def test_a_file_comes_before_a_name(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    saved.rename("adam")
    state = l2o.load("adam").init(jnp.zeros(3))
    assert state.hidden["gru1"].shape == (8, 3)


def test_meta_parameters_that_do_not_fit_are_not_saved(tmp_path):
    optimizer = l2o.make_optimizer("optim4rl_b")
    other = random_meta(l2o.make_optimizer("optim4rl_b", hidden_size=5))
    with pytest.raises(CheckpointError, match=r"'gru1/b_in' has shape \(15,\), want \(24,\)"):
        l2o.save_weights(tmp_path / "w.safetensors", optimizer, other)
    assert not list(tmp_path.iterdir())


def test_named_leaves():
    leaves = named_leaves({"b": [1, {"c": 2}], "a": 3})
    assert leaves == {"a": 3, "b/0": 1, "b/1/c": 2}


# Fast start


def python(code, *argv):
    """Run code in a new interpreter; return its standard output."""
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_and_every_help_leave_jax_alone(tmp_path):
    stages = next(a for a in build_parser()._actions if a.dest == "word").choices
    assert {"evaluate", "meta-train", "baselines", "select", "transfer", "ablate"} <= set(stages)
    code = """
import sys
import l2o
assert set(dir(l2o)) >= {"load", "make_optimizer"}
import l2o.workflow.versions
from l2o.cli import main
for argv in ([], *([name] for name in sys.argv[1:])):
    try:
        main([*argv, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, argv
heavy = {"jax", "mlflow", "pandas", "brax", "gymnax", "matplotlib", "snakemake", "numpy"}
print("heavy:", *sorted(heavy & set(sys.modules)))
"""
    out = python(code, *stages)
    assert out.endswith("heavy:\n")
    assert all(f"usage: l2o {name}" in out for name in stages)


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = l2o.laod
    assert set(l2o.__all__) <= set(dir(l2o))
    assert all(callable(getattr(l2o, name)) for name in l2o.__all__)


def test_console_script_prints_its_version():
    script = Path(sys.executable).with_name("l2o")
    command = [script] if script.exists() else [sys.executable, "-m", "l2o.cli"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == f"l2o {l2o.__version__}"

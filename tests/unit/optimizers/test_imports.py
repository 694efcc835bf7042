"""Weights of reference implementations become weight files, through the command line."""

import io
import json
import os
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from places import DATA, REFERENCE

import l2o
from l2o.cli import main
from l2o.optimizers.parts.paths import named_leaves

GOLDEN = DATA / "golden"
COMPLETE = REFERENCE / "golden"
# file: optimizer, hyperparameters that follow from the arrays
FILES = {
    "optim4rl_head": ("optim4rl_b", {"mlp_sizes": ()}),
    "optim4rl_iclr": ("optim4rl_a", {"mlp_sizes": (16, 16)}),
    "linear_head": ("linear", {"mlp_sizes": (), "processing": None}),
    "linear_iclr": ("linear", {"mlp_sizes": (16, 16), "processing": "sign_log"}),
    "l2lgd2_head": ("l2lgd2", {"mlp_sizes": ()}),
    "l2lgd2_iclr_class": ("l2lgd2", {"mlp_sizes": (16, 16)}),
}


def arrays_of(name):
    """Return the reference's meta-parameters in a golden file, by their names there."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        layout, vector = json.loads(str(file["layout"])), file["meta"]
    bounds = np.cumsum([0, *(int(np.prod(shape)) for shape in layout.values())])
    return {
        key: vector[low:high].reshape(shape)
        for (key, shape), (low, high) in zip(layout.items(), pairwise(bounds), strict=True)
    }


def savez(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `l2o import-weights ... -o out.safetensors` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "100")

    def call(*argv):
        code = main(["import-weights", *map(str, argv), "-o", "out.safetensors"])
        return code, *capsys.readouterr()

    return call


def fails(result, *parts):
    """Check that a call ended in one line of error, and wrote nothing."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("l2o import-weights: ") and err.count("\n") == 1
    for part in parts:
        assert part in err
    assert not Path("out.safetensors").exists()


def equal(a, b):
    a, b = named_leaves(a), named_leaves(b)
    assert set(a) == set(b)
    for name in a:
        assert a[name].dtype == jnp.float32
        np.testing.assert_array_equal(a[name], b[name])


# What is imported


@pytest.mark.parametrize("prefix", ["", "meta/"])
@pytest.mark.parametrize("name", FILES)
def test_file_with_arrays(run, name, prefix):
    optimizer, settings = FILES[name]
    arrays = arrays_of(name)
    stored = {prefix + key: array for key, array in arrays.items()}
    if prefix:  # beside which other arrays do not matter
        stored |= {"metaloss": np.zeros(()), "cfg_json": np.array("{}"), "metagrad/x": np.ones(3)}
    path = savez("reference.npz", stored)
    code, out, err = run(path, "--from", "optim4rl", "--optimizer", optimizer)
    assert (code, out, err) == (0, f"out.safetensors: weights of {optimizer}\n", "")
    loaded, meta, metadata = l2o.load_weights("out.safetensors")
    assert loaded == l2o.make_optimizer(optimizer, **settings)
    equal(meta, l2o.import_weights("optim4rl", optimizer, arrays))
    assert "learning_rate" not in metadata
    assert metadata["imported"]["source"] == "optim4rl"
    assert metadata["imported"]["file"] == "reference.npz"
    assert len(metadata["imported"]["sha256"]) == 64


@pytest.mark.skipif(not COMPLETE.is_dir(), reason=f"{COMPLETE} with the complete files is absent")
@pytest.mark.parametrize("name", FILES)
def test_golden_files_as_they_are(run, name):
    for suffix in ("", "_noclip"):
        path = COMPLETE / f"{name}{suffix}.npz"
        assert run(path, "--from", "optim4rl", "--optimizer", FILES[name][0])[0] == 0
        arrays = arrays_of(f"{name}{suffix}")
        _, meta, _ = l2o.load_weights("out.safetensors")
        equal(meta, l2o.import_weights("optim4rl", FILES[name][0], arrays))


def test_nested_arrays_and_what_they_become():
    arrays = arrays_of("linear_iclr")
    nested = {}
    for path, array in arrays.items():
        *folders, last = path.split("/")
        level = nested
        for folder in folders:
            level = level.setdefault(folder, {})
        level[last] = array
    meta = l2o.import_weights("optim4rl", "linear", nested)
    equal(meta, l2o.import_weights("optim4rl", "linear", arrays))
    assert {name: leaf.shape for name, leaf in named_leaves(meta).items()} == {
        "gru/w_in": (24, 2),
        "gru/b_in": (24,),
        "gru/w_rec": (24, 8),
        "gru/b_rec": (8,),
        **{f"mlp/{i}/w": shape for i, shape in enumerate([(16, 8), (16, 16), (3, 16)])},
        **{f"mlp/{i}/b": shape for i, shape in enumerate([(16,), (16,), (3,)])},
    }
    np.testing.assert_array_equal(meta["gru"]["w_rec"][8:16], arrays["params/rnn/hz/kernel"].T)


def test_settings_and_what_is_stored_beside(run):
    path = savez("w.npz", arrays_of("l2lgd2_iclr_class"))
    options = ("--set", "processing=sign_log", "--set", "grad_clip=null")
    beside = ("--learning-rate", "0.003", "--licence", "Apache-2.0")
    argv = (path, "--from", "optim4rl", "--optimizer", "l2lgd2")
    assert run(*argv, *options, *beside)[0] == 0
    optimizer, _, metadata = l2o.load_weights("out.safetensors")
    assert optimizer.processing == "sign_log" and optimizer.grad_clip is None
    assert metadata["learning_rate"] == 0.003 and metadata["licence"] == "Apache-2.0"
    l2o.load("out.safetensors")  # needs no learning rate now


def test_other_precisions_become_float32(run):
    arrays = {key: array.astype(np.float64) for key, array in arrays_of("linear_head").items()}
    path = savez("w.npz", arrays)
    assert run(path, "--from", "optim4rl", "--optimizer", "linear")[0] == 0
    equal(l2o.load_weights("out.safetensors")[1], l2o.import_weights("optim4rl", "linear", arrays))


# What is refused

RNN1 = "params/rnn1"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({f"{RNN1}/hn/bias": None}, [f"'{RNN1}/hn/bias' is missing"]),
        (
            {"params/mlp2/layers_0/kernel": None, f"{RNN1}/iz/bias": None},
            ["'params/mlp2/layers_0/kernel' is missing", f"'{RNN1}/iz/bias' is missing"],
        ),
        ({"params/rnn3/hn/bias": np.zeros(8)}, ["'params/rnn3/hn/bias' is unexpected"]),
        ({f"{RNN1}/ir/kernel": np.zeros((8, 1))}, ["has shape (8, 1), want (1, 8)"]),
        ({f"{RNN1}/hr/kernel": np.zeros(8)}, ["has shape (8,), want (8, 8)"]),
        ({f"{RNN1}/hn/bias": np.zeros(5)}, ["has shape (5,), want (8,)"]),
        ({f"{RNN1}/hr/kernel": np.array("x")}, [f"'{RNN1}/hr/kernel' has dtype <U1"]),
        ({"params/mlp1/layers_0/bias": np.zeros(0)}, ["has shape (0,), want (1,)"]),
        ({"params/mlp1/layers_2/bias": np.zeros(3)}, ["'params/mlp1/layers_2/kernel' is missing"]),
    ],
)
def test_arrays_that_do_not_fit(run, change, parts):
    arrays = arrays_of("optim4rl_head") | change
    path = savez("w.npz", {key: array for key, array in arrays.items() if array is not None})
    fails(run(path, "--from", "optim4rl", "--optimizer", "optim4rl_b"), *parts)


def test_form_a_is_not_form_b(run):
    for name, other in (("optim4rl_head", "optim4rl_a"), ("optim4rl_iclr", "optim4rl_b")):
        path = savez("w.npz", arrays_of(name))
        result = run(path, "--from", "optim4rl", "--optimizer", other)
        fails(result, f"optim4rl arrays of '{other}'", "params/rnn1/ir/kernel' has shape")


def test_outside_of_meta_nothing_is_read(run):
    """If one array lies under meta/, so must all."""
    arrays = arrays_of("linear_head")
    moved = "params/mlp/layers_0/bias"
    stored = {f"meta/{key}": array for key, array in arrays.items() if key != moved}
    path = savez("w.npz", stored | {moved: arrays[moved]})
    fails(run(path, "--from", "optim4rl", "--optimizer", "linear"), f"'{moved}' is missing")


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ("--from optim4rlx --optimizer linear", ["unknown source", "Did you mean 'optim4rl'?"]),
        ("--from optim4rl --optimizer optim4rl", ["optimizer of source 'optim4rl'", "optim4rl_a"]),
        ("--from optim4rl", ["source 'optim4rl' needs --optimizer, one of", "linear"]),
        ("--from optim4rl --optimizer linear --set clip", ["--set: want NAME=VALUE; got 'clip'"]),
        ("--from optim4rl --optimizer linear --set clip=1", ["optimizer 'linear': ", "'clip'"]),
        ("--from optim4rl --optimizer linear --set grad_clip=-1", ["grad_clip must be positive"]),
        ("--from optim4rl --optimizer linear --set hidden_size=4", ["'gru/b_in' has shape (24,)"]),
        ("--from optim4rl --optimizer linear --learning-rate nan", ["must be positive; got nan"]),
    ],
)
def test_options_that_do_not_fit(run, argv, parts):
    path = savez("w.npz", arrays_of("linear_head"))
    fails(run(path, *argv.split()), *parts)


class Bomb:
    """Creates a folder when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def saved(save, value, **options):
    buffer = io.BytesIO()
    save(buffer, value, **options)
    return buffer.getvalue()


def archive(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


def test_pickles_are_refused(run):
    bomb = np.array([Bomb()], object)
    for content in (
        pickle.dumps(Bomb()),
        pickle.dumps({"params": Bomb()}, protocol=0),
        saved(np.save, bomb, allow_pickle=True),
        archive("params/rnn/hn/bias.npy", saved(np.save, bomb, allow_pickle=True)),
        archive("meta/x.npy", saved(np.save, bomb, allow_pickle=True)),
        archive("archive/data.pkl", pickle.dumps(Bomb())),
    ):
        for name in ("w.npz", "w.npy", "w.pkl"):
            Path(name).write_bytes(content)
            result = run(name, "--from", "optim4rl", "--optimizer", "linear")
            fails(result, name, "loading a pickle can execute code")
    assert not Path("exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert Path("exploded").is_dir()  # indeed


def test_damaged_files(run):
    whole = savez("w.npz", arrays_of("linear_head"))
    content = Path(whole).read_bytes()
    flipped = bytearray(content)
    flipped[200] ^= 255
    header = saved(np.save, np.zeros(3))
    options = ("--from", "optim4rl", "--optimizer", "linear")
    for damaged in (content[:300], content[:-10], bytes(flipped), header[:40], header[:-4]):
        Path("w.npz").write_bytes(damaged)
        fails(run("w.npz", *options), "w.npz: cannot be read")
    for other in (b"", b"text", b"\x00" * 100):
        Path("w.npz").write_bytes(other)
        fails(run("w.npz", *options), "w.npz: neither .npz nor .npy")
    for missing in ("none.npz", "."):
        fails(run(missing, *options), f"{missing}: cannot be read")


def test_one_vector_for_arrays_with_names(run):
    np.save("w.npy", np.zeros(300, np.float32))
    result = run("w.npy", "--from", "optim4rl", "--optimizer", "linear")
    fails(result, "want arrays by name")

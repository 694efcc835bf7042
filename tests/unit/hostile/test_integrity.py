"""Damaged files: noticed whatever bit changed, said in one line, made again or fallen back from."""

import errno
import random
import shutil
import types

import jax
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import l2o
from l2o.analysis.identity import read_samples
from l2o.errors import CheckpointError, L2OError, ResultsError
from l2o.evaluation.candidates import resolve
from l2o.files import atomic_path, copy_folder, read_table, write_table
from l2o.jobs.resume import ResumeState
from l2o.optimizers.weights import digest_of

FLIPS = 100


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def flips(content):
    """Yield copies with one bit changed: anywhere, and in each of the last bytes."""
    bits = random.Random(0).sample(range(8 * len(content)), FLIPS)
    for bit in [*bits, *range(8 * (len(content) - 12), 8 * len(content))]:
        yield flipped(content, bit)


def assert_noticed(path, load, same):
    """A changed bit is an error in one line that names the file, or changes nothing."""
    content, noticed = path.read_bytes(), 0
    for changed in flips(content):
        path.write_bytes(changed)
        try:
            assert same(load(path))
        except L2OError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            noticed += 1
    path.write_bytes(content)
    assert same(load(path))
    return noticed


# Tables

TABLE = pd.DataFrame(
    {
        "task": ["catch", None] * 20,
        "seed": range(40),
        "return": np.random.default_rng(0).normal(size=40),
    }
)


def test_a_table_is_what_was_written(tmp_path):
    paths = [tmp_path / name for name in ("a.parquet", "b.parquet", "empty.parquet")]
    for path in paths[:2]:
        write_table(path, TABLE)
    write_table(paths[2], TABLE[:0])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    pd.testing.assert_frame_equal(read_table(paths[0]), TABLE, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(paths[0]), TABLE, check_exact=True)
    assert list(read_table(paths[2])) == list(TABLE) and read_table(paths[2]).empty


def test_any_changed_bit_of_a_table_is_noticed(tmp_path):
    path = tmp_path / "curves.parquet"
    write_table(path, TABLE)
    noticed = assert_noticed(path, read_table, TABLE.equals)
    assert noticed > 0.97 * FLIPS  # all but those of the digest's name


def test_a_truncated_table_says_what_to_do(tmp_path):
    path = tmp_path / "curves.parquet"
    write_table(path, TABLE)
    content = path.read_bytes()
    for length in (0, 3, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ResultsError, match=r"delete it and the run\.json beside it"):
            read_table(path)


def test_a_cell_may_look_like_a_digest(tmp_path):
    table = pd.DataFrame({"text": ["l2o.sha256\x18@" + 64 * "a", "x"]})
    write_table(tmp_path / "a.parquet", table)
    assert read_table(tmp_path / "a.parquet").equals(table)


def test_a_table_from_elsewhere_is_read(tmp_path):
    TABLE.to_parquet(tmp_path / "a.parquet", index=False)
    assert read_table(tmp_path / "a.parquet").equals(TABLE)


# Weights and recorded gradients


def test_any_changed_bit_of_a_weight_file_is_noticed(tmp_path):
    optimizer = l2o.make_optimizer("linear")
    meta, path = optimizer.init_meta(jax.random.key(0)), tmp_path / "w.safetensors"
    l2o.save_weights(path, optimizer, meta, {"learning_rate": 0.1})
    _, _, metadata = l2o.load_weights(path)

    def same(loaded):
        equal = jax.tree.map(np.array_equal, loaded[1], meta)
        return jax.tree.all(equal) and loaded[::2] == (optimizer, metadata)

    assert assert_noticed(path, l2o.load_weights, same) > 0.9 * FLIPS


def test_any_changed_bit_of_recorded_gradients_is_noticed(tmp_path):
    samples = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    arrays, path = {"samples": samples}, tmp_path / "samples.safetensors"
    save_file(arrays, path, {"digest": digest_of({}, arrays)})
    noticed = assert_noticed(path, lambda p: read_samples(p.parent), lambda x: (x == samples).all())
    assert noticed > 0.9 * FLIPS


def test_a_damaged_checkpoint_of_a_run_says_what_to_delete(tmp_path):
    optimizer, path = (
        l2o.make_optimizer("linear"),
        tmp_path / "checkpoints" / "step_000004.safetensors",
    )
    l2o.save_weights(path, optimizer, optimizer.init_meta(jax.random.key(0)))
    path.write_bytes(flipped(path.read_bytes(), 8 * path.stat().st_size - 9))
    with pytest.raises(CheckpointError, match=r"digest differs[^D]*$"):
        resolve(str(path), 0.1)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"Delete {tmp_path / 'run.json'} and it, and run"):
        resolve(str(path), 0.1)


# Checkpoints that a killed job continues from

STATE = {"weights": np.arange(6.0), "step": np.array(0)}


def saved(folder, steps=(4, 8, 12)):
    """Return a state folder with checkpoints, of which two are kept, and a series beside them."""
    state = ResumeState(folder, {"seed": 0})
    for step in steps:
        series = folder / "series" / "0" / f"step_{step}"
        series.parent.mkdir(parents=True, exist_ok=True)
        series.write_text(f"weights of {step}")
        state.save(step, STATE | {"step": np.array(step)})
    return folder


def reopened(folder):
    state = ResumeState(folder, {"seed": 0})
    if state.latest is not None:
        assert state.restore(STATE)["step"] == state.latest
    return state.latest


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    path.write_bytes(flipped(path.read_bytes(), 4 * path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.unlink()])
def test_a_damaged_checkpoint_is_not_continued_but_the_one_before(tmp_path, capsys, damage):
    folder = saved(tmp_path / "state")
    assert reopened(folder) == 12 and not capsys.readouterr().err
    damage(largest(folder / "state" / "12" / "default"))
    assert reopened(folder) == 8
    said = capsys.readouterr().err
    assert "checkpoint of step 12 is damaged" in said and "continuing from that of step 8" in said
    assert (folder / "damaged" / "12").is_dir() and said.count("\n") == 1
    # What the later one had added is made again.
    assert sorted(path.name for path in (folder / "series" / "0").iterdir()) == ["step_4", "step_8"]
    damage(largest(folder / "state" / "8" / "default"))
    assert reopened(folder) is None
    assert "checkpoint of step 8 is damaged" in (said := capsys.readouterr().err)
    assert "starting again" in said


def test_any_damaged_file_of_a_checkpoint_is_noticed(tmp_path, capsys):
    folder = saved(tmp_path / "state")
    files = [path for path in (folder / "state" / "12").rglob("*") if path.stat().st_size]
    for path in [path for path in files if path.is_file()]:
        copy = shutil.copytree(folder, tmp_path / "copy")
        flip(copy / path.relative_to(folder))
        assert reopened(copy) == 8 and "step 12 is damaged" in capsys.readouterr().err
        ResumeState(copy, {"seed": 0}).discard()
        assert not copy.exists()


@pytest.mark.parametrize(("step", "latest"), [(4, None), (8, None), (12, 8)])
def test_a_damaged_weight_file_of_the_series_is_made_again(tmp_path, capsys, step, latest):
    folder = saved(tmp_path / "state")
    flip(folder / "series" / "0" / f"step_{step}")
    assert reopened(folder) == latest
    assert f"series/0/step_{step} has changed" in capsys.readouterr().err


def test_killed_before_the_digests_were_written(tmp_path, capsys):
    folder = saved(tmp_path / "state")
    (folder / "state" / "12" / "sha256.json").unlink()
    assert reopened(folder) == 12 and not capsys.readouterr().err
    flip(largest(folder / "state" / "12" / "default"))
    # No digest tells, but what reads it may: never a traceback of the library.
    try:
        reopened(folder)
    except CheckpointError as error:
        assert "delete it and run again" in str(error)


def test_a_full_disk_is_noticed_before_a_checkpoint_is_begun(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2**16)
    state = ResumeState(tmp_path / "state", {"seed": 0})
    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        state.save(4, STATE)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "state" / "state" / "4")
    assert not list((tmp_path / "state" / "state").iterdir())
    state.save(4, STATE | {"step": np.array(4)})
    assert reopened(tmp_path / "state") == 4


def test_checkpoints_that_take_long_are_made_less_often(tmp_path, monkeypatch):
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("l2o.jobs.resume.time", clock)
    state = ResumeState(tmp_path / "state", {"seed": 0})
    write = state._manager.save

    def slow(step, **kwargs):
        now[0] += {1: 0.9, 2: 4.0}[step]
        return write(step, **kwargs)

    monkeypatch.setattr(state._manager, "save", slow)
    state.save(1, STATE)
    assert state.is_affordable  # it took less than a second
    state.save(2, STATE)
    assert not state.is_affordable  # 5% of the time since 0.9 s
    now[0] = 80.8
    assert not state.is_affordable
    now[0] = 81.0
    assert state.is_affordable


def test_killed_while_the_folder_was_claimed(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / ".fingerprint.json.1.partial").write_text("{")
    assert reopened(folder) is None
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not a folder to resume from; it holds notes"):
        ResumeState(folder, {"seed": 1})


# Writing


def test_a_folder_is_copied_whole_or_not_at_all(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (source / name).write_text(name)
    copy_folder(source, target)
    (source / "a").write_text("new")
    copies = shutil.copyfile

    def fails(path, to):
        if path.name == "b":
            raise OSError(28, "No space left on device")
        return copies(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fails)
        with pytest.raises(OSError, match="target") as caught:
            copy_folder(source, target)
    assert caught.value.filename == str(target)
    assert (target / "a").read_text() == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
    copy_folder(source, target)
    assert (target / "a").read_text() == "new" and (target / "deep" / "b").read_text() == "deep/b"


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "table"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "table")

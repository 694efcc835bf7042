import shutil
from pathlib import Path

import numpy as np
import pytest
from killing import STEPS, Workplace, assert_same_results, history, record

from l2o.jobs.resume import ResumeState

pytestmark = [pytest.mark.long, pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(place):
    """The results of an uninterrupted run."""
    out = place.train("whole")
    assert "resumed_from" not in record(out)
    return out


@pytest.fixture(scope="module")
def killed_once(place, whole):
    """What is left of a run that was killed as soon as it had a checkpoint."""
    out = place.train("killed_once", ("after", "save", "4"))
    assert history(out) == [2, 4]
    assert not (out / "run.json").exists() and not (out / "checkpoints").exists()
    return out


def test_killed_after_a_checkpoint_and_between_two(place, whole, killed_once):
    out = Path(shutil.copytree(killed_once, place.folder / "twice"))
    place.train("twice", ("after", "log", "6"))
    assert history(out) == STEPS[:3]
    # The checkpoint of step 4 is continued from: step 6 was logged, and is done again.
    assert_same_results(place.train("twice"), whole)
    assert record(out)["resumed_from"] == 4


def test_killed_while_a_checkpoint_is_made_and_before_the_end(place, whole):
    out = place.train("late", ("before", "save", "8"))
    assert (out / ".state" / "series" / "0" / "step_000008.safetensors").exists()
    place.train("late", ("before", "_publish", "-"))
    assert history(out) == STEPS
    assert_same_results(place.train("late"), whole)
    assert record(out)["resumed_from"] == 12


def test_killed_before_the_first_checkpoint(place, whole):
    out = place.train("early", ("after", "log", "2"))
    assert history(out) == [2]
    assert_same_results(place.train("early"), whole)
    assert "resumed_from" not in record(out)


def test_the_state_of_another_recipe_is_not_continued(place, whole, killed_once):
    Path(shutil.copytree(killed_once, place.folder / "other"))
    out = place.train("other", reset_interval=4)
    assert "resumed_from" not in record(out)
    assert history(out) == STEPS
    first, last = (f"checkpoints/step_{step:06d}.safetensors" for step in (0, 12))
    assert (out / first).read_bytes() == (whole / first).read_bytes()
    assert (out / last).read_bytes() != (whole / last).read_bytes()


def test_state_that_is_half_removed_is_not_continued(tmp_path, monkeypatch):
    folder, fingerprint = tmp_path / "state", {"seed": 0}
    state = ResumeState(folder, fingerprint)
    state.save(4, {"weights": np.arange(3.0)})
    np.testing.assert_array_equal(state.restore({"weights": np.zeros(3)})["weights"], range(3))
    assert ResumeState(folder, fingerprint).latest == 4
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", raise_interrupt)
        state.discard()
    assert ResumeState(folder, fingerprint).latest is None


def raise_interrupt(*args, **kwargs):
    raise KeyboardInterrupt

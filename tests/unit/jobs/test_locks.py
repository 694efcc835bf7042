"""One process at a time in a state folder."""

import fcntl
import shutil
import subprocess
import sys

import pytest
from killing import Workplace

from l2o.errors import BusyError
from l2o.jobs.locks import hold, release

HOLDER = """
import pathlib, sys
from l2o.jobs.locks import hold
hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a folder until it is killed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "state"], **pipes) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, holder):
    with pytest.raises(BusyError, match=f"{tmp_path / 'state'}: another process is at work here"):
        hold(tmp_path / "state")
    holder.kill()  # as nothing can catch: no clean-up
    holder.wait()
    hold(tmp_path / "state")
    hold(tmp_path / "state")  # once more in one process does not matter
    release(tmp_path / "state")


def test_a_folder_that_its_owner_removed_is_not_held(tmp_path, monkeypatch):
    """Between opening the file and locking it, the owner may remove the folder and end."""
    folder, real, calls = tmp_path / "state", fcntl.flock, []

    def after_removal(file, operation):
        if not calls:
            shutil.rmtree(folder)
        calls.append(operation)
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", after_removal)
    hold(folder)
    release(folder)
    assert len(calls) == 2 and (folder / "lock").is_file()


@pytest.mark.slow
def test_two_trainings_in_one_folder(tmp_path, holder):
    """The folder of `--state` is held by another process: nothing of its run is touched."""
    place = Workplace(tmp_path)
    command = [*place.command("out"), "--state", str(tmp_path / "state")]
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.jsonl").write_text("of the other\n")
    done = subprocess.run(
        command, env=place.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("l2o meta-train: ") and "another process is at work here" in line
    assert [path.name for path in out.iterdir()] == ["metrics.jsonl"]
    assert (out / "metrics.jsonl").read_text() == "of the other\n"

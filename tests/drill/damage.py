"""Truncated and bit-flipped files: of what a job continues from, and of its results."""

import shutil
import sys
from pathlib import Path

from tests.drill.compare import differences
from tests.drill.place import Place
from tests.drill.stages import STAGES, program
from tests.drill.verdicts import check

# `l2o`, killed when all is trained and nothing is published yet.
_STOPPED = """
import os, signal, sys
import l2o.cli, l2o.meta.train
l2o.meta.train._publish = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(l2o.cli.main(sys.argv[1:]))
"""


def truncate(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@check("checkpoint to continue from, {0}")
def damaged_checkpoint(how: str, place: Place, whole: Place) -> str:
    """Damage the newest checkpoint of a killed training: the one before is used, and said so."""
    state = _stopped(place)
    {"truncated": truncate, "bit-flipped": flip}[how](_largest(state / "state" / "8"))
    ended = _resumed(place, whole)
    assert "checkpoint of step 8 is damaged" in ended, ended[-500:]
    assert "continuing from that of step 4" in ended, ended[-500:]
    return "said so, continued from the one before, same results"


@check("both checkpoints bit-flipped")
def damaged_checkpoints(place: Place, whole: Place) -> str:
    """Damage all checkpoints of a killed training: it starts again, and says so."""
    state = _stopped(place)
    for step in ("4", "8"):
        flip(_largest(state / "state" / step))
    ended = _resumed(place, whole)
    assert "starting again" in ended, ended[-500:]
    return "said so, started again, same results"


def _stopped(place: Place) -> Path:
    """Train anew until all is done but to publish it; return the state."""
    shutil.rmtree(place.folder / STAGES["meta_train"].outputs[0], ignore_errors=True)
    command = [sys.executable, "-c", _STOPPED, *STAGES["meta_train"].command]
    ended = place.run(command)
    assert ended.code == -9, ended.output[-500:]
    return place.results / ".state" / STAGES["meta_train"].state


def _resumed(place: Place, whole: Place) -> str:
    ended = place.run(program("meta_train"))
    assert ended.code == 0, ended.output[-500:]
    _assert_same(place, whole)
    return ended.output


def _largest(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def _assert_same(place: Place, whole: Place) -> None:
    found = differences(whole.results, place.results)
    assert not found, "; ".join(found[:3])


@check("results: {0} {1}")
def damaged_result(how: str, name: str, reader: str, maker: str, place: Place, whole: Place) -> str:
    """Damage a file of the results: its reader refuses it; what it says to do, helps."""
    path = place.results / name
    {"truncated": truncate, "bit-flipped": flip}[how](path)
    refused = place.run(program(reader))
    assert refused.code == 2, f"exit {refused.code}: {refused.output[-500:]}"
    last = refused.output.strip().splitlines()[-1]
    assert name in last and "elete" in last and "run again" in last, last
    record = "run.json"
    assert record in last, last
    path.unlink()
    job = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    (job / record).unlink()
    for stage in (maker, reader):
        ended = place.run(program(stage))
        assert ended.code == 0, ended.output[-500:]
    _assert_same(place, whole)
    return "refused, told what to delete, made again"

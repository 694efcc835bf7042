"""What the machine can do: a full disk, no permission, another clock, no memory, two at once."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.drill.compare import differences
from tests.drill.place import Ended, Place, kill_all, wait_for
from tests.drill.stages import STAGES, program
from tests.drill.verdicts import SkipError, check

# Runs in a mount namespace of its own; what it mounts goes with it. $1: the space that is left, in
# KiB, or "ro"; then the command.
_MOUNTED = """
size=$1; shift
cp -r results before
mount -t tmpfs -o size=256m none results && cp -r before/. results || exit 90
case $size in
ro) mount -o remount,ro none results ;;
*) all=$(($(df -k --output=used results | tail -1) + size))
   mount -o "remount,size=${all}k" none results ;;
esac || exit 90
"$@"; echo "== exit $?"
cp -r results left
mount -o remount,rw,size=256m none results || exit 90
"$@"; echo "== exit $?"
cp -r results after
"""


def _namespace() -> list[str]:
    """Return the command that gives a process mounts of its own."""
    for command in (["unshare", "--mount"], ["unshare", "--mount", "--user", "--map-root-user"]):
        trial = [
            *command,
            "sh",
            "-c",
            'mount -t tmpfs none "$1"',
            "sh",
            os.fspath(Path(__file__).parent),
        ]
        try:
            if subprocess.run(trial, capture_output=True, timeout=20, check=False).returncode == 0:
                return command
        except OSError:
            break
    raise SkipError("no process may mount a file system of its own here")


def _mounted(place: Place, size: str, stage: str) -> tuple[Ended, Ended]:
    """Run a stage on a file system of its own, then again with enough space; return both ends."""
    command = _namespace()
    for name in ("before", "left", "after"):
        shutil.rmtree(place.folder / name, ignore_errors=True)
    ended = place.run([*command, "sh", "-c", _MOUNTED, "sh", size, *program(stage)])
    parts = re.split(r"^== exit (\d+)$", ended.output, flags=re.MULTILINE)
    assert len(parts) == 5, ended.output[-500:]
    return Ended(int(parts[1]), parts[0], 0.0), Ended(int(parts[3]), parts[2], 0.0)


@check("disk full at {0} KiB, {1}")
def full_disk(size: str, stage: str, place: Place, whole: Place) -> str:
    """Fill the disk: one line, nothing half-written; with space the job ends as ever."""
    _forget(place, stage)
    first, second = _mounted(place, size, stage)
    assert first.code == 2, f"exit {first.code}: {first.output[-800:]}"
    line = first.output.strip().splitlines()[-1]
    assert "the disk is full" in line and "Traceback" not in first.output, first.output[-800:]
    _assert_nothing_half_written(place.folder / "left" / "smoke", whole.results)
    assert second.code == 0, second.output[-500:]
    _assert_same(whole, place.folder / "after" / "smoke")
    return f"exit 2, '{line[:60]}...', then same results"


def _assert_nothing_half_written(left: Path, whole: Path) -> None:
    """Whatever has its final name is complete; a history ends where the job did."""
    for path in left.rglob("*"):
        name = path.relative_to(left)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and path.suffix in (".parquet", ".safetensors"):
            assert path.read_bytes() == (whole / name).read_bytes(), f"{name} is half-written"


@check("read-only results, {0}")
def read_only(stage: str, place: Place, whole: Place) -> str:
    """Write where nothing can be written: one line."""
    _forget(place, stage)
    first, second = _mounted(place, "ro", stage)
    assert first.code == 2, f"exit {first.code}: {first.output[-800:]}"
    (line,) = first.output.strip().splitlines()
    assert "the file system is read-only" in line, line
    assert second.code == 0, second.output[-500:]
    _assert_same(whole, place.folder / "after" / "smoke")
    return f"exit 2, '{line[:70]}...'"


# `l2o` whose clock jumps, once or twice, when checkpoints are saved.
_CLOCK = """
import datetime, sys, time
import l2o.jobs.resume, l2o.cli, l2o.jobs.record

jumps, offset = [float(x) for x in sys.argv[1].split(",")], 0.0
now, save = time.time, l2o.jobs.resume.ResumeState.save
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=offset)
def jump(*args):
    global offset
    offset += jumps.pop(0) if jumps else 0.0
    return save(*args)
time.time = lambda: now() + offset
time.time_ns = lambda: int(1e9 * time.time())
l2o.jobs.record.datetime = Jumping
l2o.jobs.resume.ResumeState.save = jump
sys.exit(l2o.cli.main(sys.argv[2:]))
"""


@check("clock jumps by {0} s")
def clock(jumps: str, place: Place, whole: Place) -> str:
    """Let the clock jump in the middle of a training: nobody notices."""
    _forget(place, "meta_train")
    ended = place.run([sys.executable, "-c", _CLOCK, jumps, *STAGES["meta_train"].command])
    assert ended.code == 0, ended.output[-500:]
    done = [int(x) for x in re.findall(r"(\d+)%", ended.output)]
    assert done and done == sorted(done) and done[-1] == 100, ended.output[-500:]
    assert not re.search(r"-\d+(/s|s left)|nan|\dd\d\dh left", ended.output), ended.output[-500:]
    _assert_same(whole, place.results)
    return f"{len(done)} progress lines in order, same results"


@check("files with times of tomorrow")
def future_files(place: Place, whole: Place) -> str:
    """Let a result be of tomorrow, as after a clock that went back: Snakemake refuses; touch it."""
    record, tomorrow = place.results / "levels" / "linear" / "toy" / "run.json", time.time() + 86400
    os.utime(record, (tomorrow, tomorrow))
    command = ["snakemake", "--cores", "2", "all"]
    refused = place.run(command)
    assert refused.code and "clock skew" in refused.output, refused.output[-500:]
    os.utime(record)
    ended = place.run(command)
    assert ended.code == 0, ended.output[-500:]
    _assert_same(whole, place.results)
    return "refused: 'clock skew'; touched, then same results"


@check("out of memory, {0}")
def out_of_memory(stage: str, key: str, place: Place) -> str:
    """Ask for more memory than there is: one line with what to lower, and to what."""
    if stage == "meta-train":
        recipe = yaml.safe_load((place.folder / "config" / "scales" / "smoke.yaml").read_text())
        changed = recipe["recipe"] | {"unroll": 1, "agents": 10**13}
        (place.folder / "big.yaml").write_text(yaml.safe_dump(changed))
        command = ["l2o", stage, "--config", "big.yaml", "--out", "out"]
    else:
        words = "--task catch --optimizer adam --learning-rate 0.1 --environments 200000000"
        command = ["l2o", stage, *words.split(), "--updates=1", "--points=1", "--out", "out"]
    ended = place.run(command)
    assert ended.code == 2, f"exit {ended.code}: {ended.output[-800:]}"
    line = ended.output.strip().splitlines()[-1]
    assert line.startswith(f"l2o {stage}: out of memory") and f"try {key}" in line, line
    return f"exit 2, '{line.partition(': ')[2][:90]}'"


@check("fewer agents side by side (L2O_LANES={0})")
def fewer_lanes(lanes: int, stage: str, place: Place, whole: Place) -> str:
    """Do as the message says: results are the same."""
    _forget(place, stage)
    ended = place.run(program(stage), {"L2O_LANES": str(lanes)})
    assert ended.code == 0, ended.output[-500:]
    _assert_same(whole, place.results)
    return "same results"


@check("two trainings in one directory")
def two_trainings(place: Place, whole: Place) -> str:
    """Start a training twice: the second one is refused, the first one ends as ever."""
    _forget(place, "meta_train")
    state = place.results / ".state" / STAGES["meta_train"].state
    first = place.start(program("meta_train"))
    try:
        wait_for(lambda: (state / "fingerprint.json").exists(), first, 60)
        second = place.run(program("meta_train"))
        output, _ = first.communicate(timeout=200)
    finally:
        kill_all(first)
    assert second.code == 2, second.output[-500:]
    assert "another process is at work here" in second.output, second.output[-500:]
    assert first.returncode == 0, output[-500:]
    _assert_same(whole, place.results)
    return "the second: exit 2, one line; the first undisturbed"


@check("two pipelines in one directory")
def two_pipelines(place: Place, whole: Place) -> str:
    """Start Snakemake twice: its own lock refuses the second one."""
    stages = ("meta_train", "baselines", "level")
    for stage in stages:
        _forget(place, stage)
    records = [f"{STAGES[stage].outputs[0]}/run.json" for stage in stages]
    command = ["snakemake", "--cores", "1", *records]
    first = place.start(command)
    try:
        locks = place.folder / ".snakemake" / "locks"
        wait_for(lambda: locks.is_dir() and any(locks.iterdir()), first, 60)
        second = place.run(command)
        output, _ = first.communicate(timeout=200)
    finally:
        kill_all(first)
    assert second.code != 0 and "cannot be locked" in second.output, second.output[-500:]
    assert first.returncode == 0, output[-500:]
    _assert_same(whole, place.results)
    return f"the second: exit {second.code}, 'cannot be locked'; the first undisturbed"


def _forget(place: Place, stage: str) -> None:
    """Remove a stage's results and what it would continue from."""
    for output in STAGES[stage].outputs:
        shutil.rmtree(place.folder / output, ignore_errors=True)
    if STAGES[stage].state:
        shutil.rmtree(place.results / ".state" / STAGES[stage].state, ignore_errors=True)


def _assert_same(whole: Place, results: Path) -> None:
    found = differences(whole.results, results)
    assert not found, "; ".join(found[:3])

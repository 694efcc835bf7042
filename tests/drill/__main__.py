"""`make fault-drill`: break a small pipeline in every way that docs/faults.md names."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.drill import damage, kills, machine
from tests.drill.place import Place, copy_code, kill_what_is_left
from tests.drill.stages import STAGES, program
from tests.drill.verdicts import Verdict, table

SERIES = "meta_train/linear/seed_0/checkpoints/step_000008.safetensors"
CURVES = "levels/linear/toy/curves.parquet"
# Where a check gets a copy of the undisturbed run, and that run itself.
COPY, WHOLE = object(), object()

# In the order of their durations, the longest first.
_BOTH = [
    (damage.damaged_checkpoint, "bit-flipped", COPY, WHOLE),
    (damage.damaged_result, "bit-flipped", SERIES, "level", "meta_train", COPY, WHOLE),
    (damage.damaged_result, "bit-flipped", CURVES, "ablate", "level", COPY, WHOLE),
    (machine.two_pipelines, COPY, WHOLE),
    (machine.two_trainings, COPY, WHOLE),
    (machine.full_disk, "400", "meta_train", COPY, WHOLE),
    (machine.read_only, "meta_train", COPY, WHOLE),
    (machine.clock, "-86400", COPY, WHOLE),
    (machine.out_of_memory, "meta-train", "agents 5000000000000", COPY),
    (machine.out_of_memory, "evaluate", "L2O_LANES=4", COPY),
    (machine.fewer_lanes, 2, "baselines", COPY, WHOLE),
]
SHORT = [
    (kills.kill_stage, "meta_train", COPY, WHOLE, 3),
    (kills.kill_stage, "baselines", COPY, WHOLE, 1),
    *_BOTH,
]
FULL = [
    *((kills.kill_stage, name, COPY, WHOLE, 2) for name in STAGES),
    (damage.damaged_checkpoints, COPY, WHOLE),
    (damage.damaged_checkpoint, "truncated", COPY, WHOLE),
    (damage.damaged_result, "truncated", CURVES, "ablate", "level", COPY, WHOLE),
    *_BOTH,
    *((machine.full_disk, size, "meta_train", COPY, WHOLE) for size in ("30", "60", "120", "250")),
    (machine.full_disk, "300", "tune", COPY, WHOLE),
    (machine.clock, "86400,-172800", COPY, WHOLE),
    (machine.future_files, COPY, WHOLE),
]
# What the short drill needs of the undisturbed run, in turns of what can run at once.
_PART = (("meta_train", "baselines"), ("level",), ("ablate",))


class Drill:
    """An undisturbed run, and copies of it in which things go wrong."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed
        self.code = copy_code(folder / "code")
        self.whole = Place(folder / "whole", self.code)

    def prepare(self, command: list[str]) -> None:
        """Run a command of the undisturbed run, which has to succeed."""
        ended = self.whole.run(command)
        if ended.code:
            raise SystemExit(f"{' '.join(command)}: exit {ended.code}\n{ended.output}")

    def prepare_part(self) -> None:
        """Run a few stages, without Snakemake."""
        self.prepare(["l2o", "config", "--out", "results/smoke/config.json"])
        for names in _PART:
            jobs = [job for name in names for job in (program(name), _other(name))]
            with ThreadPoolExecutor(2) as workers:
                list(workers.map(self.prepare, dict.fromkeys(map(tuple, jobs))))

    def workflow(self) -> Verdict:
        """Kill the workflow, from its beginning."""
        place = Place(self.folder / "flow", self.code)
        return kills.kill_workflow(place, self.whole, 6, self.seed)

    def all(self, checks: list[tuple]) -> list[Verdict]:
        """Do checks, two at a time."""
        with ThreadPoolExecutor(2) as workers:
            return list(workers.map(self._check, checks, range(len(checks))))

    def _check(self, check: tuple, number: int) -> Verdict:
        function, *args = check
        place = self._copy(f"{number}_{function.__name__}")
        known = {id(COPY): place, id(WHOLE): self.whole}
        args = [known.get(id(arg), arg) for arg in args]
        seed = [self.seed] if function is kills.kill_stage else []
        return function(*args, *seed)

    def _copy(self, name: str) -> Place:
        """Return a copy with the results of the undisturbed run."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        place = Place(self.folder / name, self.code)
        shutil.copytree(self.whole.folder / "results", place.folder / "results")
        return place


def _other(name: str) -> list[str]:
    """Return the command of another job of the same stage, if it has one."""
    words = program(name)
    for one, other in {"catch": "small_dense_short", "linear": "optim4rl_m"}.items():
        words = [word.replace(one, other) for word in words]
    return words


def _chosen(checks: list[tuple], word: str) -> list[tuple]:
    return [check for check in checks if word in check[0].fault.format(*check[1:], *range(9))]


def main() -> int:
    """Run the drill; print what was seen; return 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="fault-drill", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one or two minutes, not ten")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    parser.add_argument("--only", default="", metavar="WORD", help="faults with it in their name")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and leave all of it")
    args, began = parser.parse_args(), time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="fault-drill-") as folder:
        verdicts = _run(Drill((args.keep or Path(folder)).absolute(), args.seed), args)
    failed = [verdict for verdict in verdicts if verdict.ok is False]
    print(f"\n{table(verdicts)}\n")
    print(f"{len(verdicts)} faults, {len(failed)} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _end(*_: object) -> None:
    """End what runs, in groups of its own, before this process ends."""
    kill_what_is_left()
    sys.exit("fault-drill: ended by a signal")


def _run(drill: Drill, args: argparse.Namespace) -> list[Verdict]:
    if args.short:
        drill.prepare_part()
        return drill.all(_chosen(SHORT, args.only))
    drill.prepare(kills.WORKFLOW)
    flow = [drill.workflow()] if args.only in kills.kill_workflow.fault else []
    return flow + drill.all(_chosen(FULL, args.only))


if __name__ == "__main__":
    sys.exit(main())

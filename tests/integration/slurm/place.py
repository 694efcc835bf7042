"""A clone of the checkout to run the workflow in, and what Slurm says about its jobs."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.drill.place import REPOSITORY, environment

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
ACCOUNTING = ("slurmdbd", "mariadbd")
# The profile waits 40 seconds between two looks at the queue; here jobs take a few.
PROFILE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2")
SMOKE = ("--config", "scale=smoke")
_SYSTEM = "/usr/sbin:/sbin"


def missing(*more: str) -> str | None:
    """Return why there can be no cluster here, None if there can.

    Args:
        more: Programs that it needs besides the usual ones.
    """
    if os.geteuid() != 0:
        return "a Slurm cluster needs root"
    path = f"{os.environ['PATH']}:{_SYSTEM}"
    absent = [name for name in (*PROGRAMS, *more) if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)}; see .ci/packages" if absent else None


@contextlib.contextmanager
def cluster(*words: str) -> Iterator[None]:
    """Run a cluster; with the word "accounting" one that keeps account."""
    script = Path(__file__).with_name("cluster")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # paths of sockets must be short
        subprocess.run([script, "start", folder, *words], check=True, timeout=120)
        try:
            yield
        finally:
            subprocess.run([script, "stop", folder], check=True, timeout=120)


class Clone:
    """The checkout as it is, uncommitted changes included, with no results."""

    def __init__(self, folder: Path):
        """Clone into a new folder."""
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
        listed = ["git", "-C", str(REPOSITORY), "ls-files", "-coz", "--exclude-standard"]
        for name in subprocess.run(listed, capture_output=True, check=True).stdout.split(b"\0"):
            source, target = REPOSITORY / os.fsdecode(name), folder / os.fsdecode(name)
            if not name or source.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.exists():
                shutil.copy2(source, target)
            else:
                target.unlink(missing_ok=True)
        self.environment = environment(folder)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake; what it says goes to ``snakemake.log``."""
        with open(self.folder / "snakemake.log", "a") as log:
            return subprocess.Popen(
                ["snakemake", "--cores", "all", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def said(self) -> str:
        """Return all that Snakemake has said."""
        return (self.folder / "snakemake.log").read_text()


class SlurmJob(NamedTuple):
    """One line of the queue; finished jobs stay in it for a while."""

    id: str
    state: str
    comment: str
    restarts: int


def queue() -> list[SlurmJob]:
    """Return all jobs that Slurm remembers."""
    line = "JobID:40,JobArrayID:40,State:20,RestartCnt:10,Comment:200"
    command = ["squeue", "--states=all", "--noheader", f"--Format={line}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    fields = [(x[40:80].strip(), x[80:100].strip(), x[110:].strip(), x[100:110]) for x in lines]
    return [SlurmJob(i, state, comment, int(count)) for i, state, comment, count in fields]

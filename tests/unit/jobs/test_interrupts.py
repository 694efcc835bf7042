"""SIGTERM, as clusters send it to every process of a job: a checkpoint first, the rest later."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from killing import RECIPE, Workplace, assert_same_results, history, record

from l2o.jobs.interrupts import EXIT_CODE, postponed

pytestmark = pytest.mark.long

# `l2o` whose process group gets SIGTERM as soon as it has logged a step.
TOLD_L2O = """
import os, signal, sys
import l2o.cli, l2o.jobs.record

step, *sys.argv[1:] = sys.argv[1:]
log = l2o.jobs.record.Run.log

def wrapped(run, at, metrics):
    log(run, at, metrics)
    if at == int(step):
        os.killpg(os.getpgid(0), signal.SIGTERM)

l2o.jobs.record.Run.log = wrapped
sys.exit(l2o.cli.main())
"""
# What a rule does, see workflow/rules/common.smk.
SHELL = """set -euo pipefail; trap '' TERM; "$@" 2>&1 | tee "$LOG" """


def run_told(place: Workplace, out: str, step: int, log) -> int:
    command = place.command(out)
    command[1:3] = ["-c", TOLD_L2O, str(step)]
    return subprocess.run(
        ["bash", "-c", SHELL, "rule", *command],
        env=place.environment | {"LOG": str(log)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        timeout=300,
    ).returncode


def test_meta_training_goes_on_where_it_was_told_to_stop(tmp_path):
    place, log = Workplace(tmp_path), tmp_path / "log"
    # With the last step logged there is nothing left to stop.
    assert run_told(place, "whole", RECIPE["outer_steps"], log) == 0
    assert record(tmp_path / "whole")["status"] == "finished"
    out = tmp_path / "told"
    assert 6 % RECIPE["checkpoint_interval"]  # the step is not one of those that are saved anyhow
    assert run_told(place, "told", 6, log) == EXIT_CODE
    assert "stopped at outer step 6, saved" in log.read_text()
    assert history(out)[-1] == 6
    assert not (out / "run.json").exists() and not (out / "run.failed.json").exists()
    place.train("told")
    assert record(out)["resumed_from"] == 6
    assert_same_results(out, tmp_path / "whole")


def test_a_job_in_a_pipe_that_ignores_the_signal_still_ends(tmp_path):
    """Outside of resumable work SIGTERM ends the process at once, whatever it has inherited."""
    code = (
        "import os, signal, l2o.cli as c, l2o.jobs.interrupts as i; i.end_at_once();"
        "os.kill(os.getpid(), signal.SIGTERM); print('alive')"
    )
    shell = f"""trap '' TERM; exec {sys.executable} -c "{code}" """
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGTERM and "alive" not in done.stdout


def test_the_signal_waits_for_the_block_and_only_for_it():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("outside"))
    try:
        with postponed() as stop:
            assert not stop.requested
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested and not seen
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["outside"]
        with postponed(can_resume=False) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["outside"] * 2 and not stop.requested
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_the_signal_alone():
    stops = []

    def work():
        with postponed() as stop:
            stops.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stops == [False]

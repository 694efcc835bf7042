"""The pipeline on a real Slurm cluster, disturbed, and still with the results of a run without it.

``L2O_REFERENCE`` may name the folder ``results/smoke`` of a whole run of the same commit on this
machine; without it one is made first.
"""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.drill.compare import differences
from tests.drill.place import wait_for
from tests.integration.slurm.place import (
    ACCOUNTING,
    PROFILE,
    SMOKE,
    Clone,
    cluster,
    missing,
    queue,
)

LONG = Path(__file__).parent / "slurm" / "long.yaml"
pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
NO_ACCOUNTS = missing(*ACCOUNTING)


# A machine has one cluster at a time: all tests that start one are here, for one worker.
@pytest.fixture
def simple_cluster():
    with cluster():
        yield


def test_a_cluster_that_was_killed_is_in_nobodys_way(tmp_path):
    script = LONG.with_name("cluster")
    start = [script, "start", tmp_path / "second"]
    subprocess.run([script, "start", tmp_path / "first"], check=True, timeout=120)
    refused = subprocess.run(start, capture_output=True, text=True, timeout=120)
    for file in (tmp_path / "first").glob("*.pid"):
        pid = int(file.read_text())
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/exe").exists():
            time.sleep(0.05)
    assert (refused.returncode, refused.stderr.count("belongs to a cluster")) == (1, 1)
    subprocess.run(start, check=True, timeout=120)
    subprocess.run([script, "stop", tmp_path / "second"], check=True, timeout=120)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return the results of a run without Slurm."""
    if "L2O_REFERENCE" in os.environ:
        return Path(os.environ["L2O_REFERENCE"])
    clone = Clone(tmp_path_factory.mktemp("local") / "clone")
    assert clone.start(*SMOKE).wait(900) == 0, clone.said()
    return clone.folder / "results" / "smoke"


def running(rule):
    """Return the id of a running job of a rule, None if there is none."""
    jobs = [job for job in queue() if job.comment.startswith(f"rule_{rule}_wildcards_")]
    return next((job.id for job in jobs if job.state == "RUNNING"), None)


def scontrol(*words):
    subprocess.run(["scontrol", *words], check=True, capture_output=True, text=True, timeout=30)


def requeue(job, process):
    """Take a running job from its node, and let it run again soon, not in two minutes."""
    scontrol("requeue", job)
    wait_for(lambda: state(job) == "PENDING", process, 60)
    # At once would be too soon: for about a second the node refuses a job that it has just ended.
    scontrol("update", f"JobId={job}", "StartTime=now+4")


def state(job_id):
    return next(job.state for job in queue() if job.id == job_id)


def test_the_pipeline_ends_as_it_does_without_slurm(tmp_path, reference, simple_cluster):
    clone = Clone(tmp_path / "clone")
    process = clone.start(*PROFILE, *SMOKE)
    try:
        cancelled = wait_for(lambda: running("baselines"), process, 300)
        subprocess.run(["scancel", cancelled], check=True, timeout=30)
        requeued = wait_for(lambda: running("transfer"), process, 600)
        requeue(requeued, process)
        assert process.wait(900) == 0, clone.said()
    finally:
        process.kill()
    states = {job.id: job for job in queue()}
    assert states[cancelled].state == "CANCELLED"
    assert (states[requeued].state, states[requeued].restarts) == ("COMPLETED", 1)
    arrays = {job.id.partition("_")[0] for job in states.values() if "_" in job.id}
    groups = [job for job in states.values() if job.comment.startswith("rule_levels_")]
    trained = list((clone.folder / "results/smoke/meta_train").glob("*/*/run.json"))
    print(f"{len(states)} Slurm jobs, {len(arrays)} arrays, {len(groups)} groups of levels")
    assert len(arrays) == 1 and len(trained) == sum("_" in job_id for job_id in states)
    assert json.loads(trained[0].read_text())["slurm_job_id"] in states
    assert differences(reference, clone.folder / "results/smoke") == []


def test_a_requeued_training_goes_on_from_its_checkpoint(tmp_path, simple_cluster):
    """SIGTERM reaches the job through all of Slurm and Snakemake, and costs nothing."""
    long = ("meta_train_linear", "--configfile", str(LONG))
    out = "results/smoke/meta_train/linear/seed_0"
    local = Clone(tmp_path / "local")
    assert local.start(*long).wait(300) == 0, local.said()

    clone = Clone(tmp_path / "clone")
    log = clone.folder / "results/smoke/logs/meta_train/linear_seed_0.log"
    process = clone.start(*PROFILE, *long)
    try:
        wait_for(lambda: log.exists() and re.search(r": \d+/", log.read_text()), process, 200)
        job = wait_for(lambda: running("meta_train"), process, 10)
        requeue(job, process)
        assert process.wait(300) == 0, clone.said()
    finally:
        process.kill()
    record = json.loads((clone.folder / out / "run.json").read_text())
    assert record["resumed_from"] % 400, "only a regular checkpoint"
    assert differences(local.folder / out, clone.folder / out) == []


def test_a_rehearsal_has_the_places_of_the_real_jobs(tmp_path, simple_cluster):
    """On a node Snakemake is started anew, with another target than `rehearse`."""
    clone = Clone(tmp_path / "clone")
    set_site(clone.folder / "slurm" / "config.yaml", partition="accelerated")
    clone.environment["L2O_TRIAL"] = "rehearsal"
    target = "results/smoke/.rehearsal/meta_train/linear/seed_0/run.json"
    process = clone.start(*PROFILE, *SMOKE, "--", target)
    try:
        assert process.wait(300) == 0, clone.said()
    finally:
        process.kill()
    found = clone.folder / "results/smoke/.rehearsal/found/meta_train_linear_0.json"
    found = json.loads(found.read_text())
    assert found["place"] == "accelerated" and found["problem"] is None and found["runs"]
    assert not (clone.folder / "results/smoke/meta_train").exists()


def set_site(profile, **values):
    """Edit the lines at the top of the profile, as its users do."""
    text = profile.read_text()
    for name, value in values.items():
        text, found = re.subn(rf"^  {name}: \S+", f"  {name}: {value}", text, flags=re.MULTILINE)
        assert found == 1, name
    profile.write_text(text)


@pytest.mark.skipif(NO_ACCOUNTS is not None, reason=str(NO_ACCOUNTS))
def test_the_profile_uses_the_accounts_and_asks_for_gpus(tmp_path):
    """With accounting the profile asks it about jobs, and reports their efficiency."""
    results = "results/smoke"
    targets = (
        f"{results}/baselines/catch/run.json",
        f"{results}/analysis/recordings/digits/run.json",
    )
    with cluster("accounting"):
        clone = Clone(tmp_path / "clone")
        set_site(
            clone.folder / "slurm/config.yaml",
            account="lab",
            partition="main",
            gpu_partition="accelerated",
            gpus=1,
            gpu_model="a100",
        )
        assert clone.start(*targets, *PROFILE, *SMOKE).wait(300) == 0, clone.said()
        fields = "--format=Account,Partition,State,AllocCPUS,Comment%100,ReqTRES%100"
        command = ["sacct", "-X", "--noheader", "--parsable2", fields]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    jobs = {line.split("|")[4]: line for line in done.stdout.splitlines()}
    trains = "rule_baselines_wildcards_catch"
    records = "rule_record_wildcards_digits"
    assert jobs[trains].startswith("lab|accelerated|COMPLETED|8|") and "a100=1" in jobs[trains]
    assert jobs[records].startswith("lab|main|COMPLETED|2|") and "gpu" not in jobs[records]
    (report,) = (clone.folder / "results").glob("efficiency_report_*.csv")
    assert {trains, records} == set(pd.read_csv(report)["RuleName"])

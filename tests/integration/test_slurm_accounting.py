"""A Slurm cluster with accounting: the profile asks it about jobs, and reports their efficiency."""

import subprocess

import pandas as pd
import pytest

from tests.integration.slurm.place import ACCOUNTING, PROFILE, SMOKE, Clone, cluster, missing

WHY_NOT = missing(*ACCOUNTING)


@pytest.mark.xdist_group("slurm")
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_the_profile_uses_the_accounts(tmp_path):
    target = "results/smoke/baselines/catch/run.json"
    with cluster("accounting"):
        clone = Clone(tmp_path / "clone")
        assert clone.start(target, *PROFILE, *SMOKE).wait(300) == 0, clone.said()
        fields = "--format=Account,State,AllocCPUS,Comment%100"
        command = ["sacct", "-X", "--noheader", "--parsable2", fields]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lab|COMPLETED|8|rule_baselines_task_wildcards_catch"]
    (report,) = (clone.folder / "results").glob("efficiency_report_*.csv")
    assert pd.read_csv(report)["RuleName"].tolist() == ["rule_baselines_task_wildcards_catch"]

"""What only a GPU can show: kills and pre-emption, and its memory, in the records and used up.

Needs neither Snakemake nor MLflow. Where there is a GPU, the unit tests run on it, too.
"""

import json
import signal
import subprocess
from pathlib import Path

import jax
import pandas as pd
import pytest

from l2o.jobs.history import SYSTEM
from l2o.jobs.interrupts import EXIT_CODE
from tests.drill.place import wait_for
from tests.unit.killing import Workplace, record

pytestmark = pytest.mark.skipif(
    jax.default_backend() == "cpu", reason="needs a GPU and JAX's build for it"
)
INTERVAL = 20
CHANGES = {  # of the recipe of the other tests with kills
    "optimizer": {"name": "optim4rl_b"},
    "agents": 64,
    "environments": 1,
    "unroll": 4,
    "outer_steps": 120,
    "reset_interval": 12,
    "meta_learning_rate": 0.003,
    "log_interval": 5,
    "checkpoint_interval": INTERVAL,
}


class Job:
    """`l2o meta-train` in processes that share the GPU with others."""

    def __init__(self, folder: Path, **changes):
        self.place, self.out = Workplace(folder), folder / "out"
        self.command = self.place.command("out", **CHANGES | changes)

    def start(self) -> subprocess.Popen:
        environment = self.place.environment | {
            "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.5",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        return subprocess.Popen(self.command, env=environment, stderr=subprocess.PIPE, text=True)

    def run(self) -> tuple[int, str]:
        process = self.start()
        said = process.communicate(timeout=400)[1]
        return process.returncode, said

    def run_until_checkpoint(self, number: int) -> int:
        """Start it, and send a signal once there is a checkpoint; return its exit code."""
        process, states = self.start(), self.out / ".state" / "state"
        wait_for(lambda: any(path.name.isdigit() for path in states.glob("*")), process, 400)
        process.send_signal(number)
        process.communicate(timeout=100)
        return process.returncode

    def results(self) -> tuple[dict[str, bytes], pd.DataFrame]:
        files = (self.out / "checkpoints").iterdir()
        weights = {path.name: path.read_bytes() for path in files}
        return weights, pd.read_parquet(self.out / "metrics.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A job that nothing disturbed."""
    job = Job(tmp_path_factory.mktemp("whole"))
    code, said = job.run()
    assert code == 0, said[-800:]
    return job


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, EXIT_CODE)])
def test_a_job_that_was_stopped_ends_alike(tmp_path, whole, number, code):
    """Bit for bit: no operation of the GPU may depend on the order of its threads."""
    job = Job(tmp_path)
    assert job.run_until_checkpoint(number) == code
    assert job.run()[0] == 0
    assert record(job.out)["resumed_from"] >= INTERVAL
    for found, expected in zip(job.results()[0].items(), whole.results()[0].items(), strict=True):
        assert found == expected, f"{found[0]} differs"
    pd.testing.assert_frame_equal(job.results()[1], whole.results()[1], check_exact=True)


def test_the_gpu_is_in_the_records(whole):
    device = record(whole.out)["device"]
    assert device["platform"] == "gpu" and device["peak_memory_bytes"] > 1e6
    lines = [json.loads(line) for line in (whole.out / SYSTEM).read_text().splitlines()]
    seen = lines[-1]["metrics"]
    for name in ("utilization_percentage", "memory_usage_megabytes", "memory_usage_percentage"):
        assert seen[f"gpu_0_{name}"] >= 0, name
    assert max(line["metrics"].get("gpu_0_memory_usage_megabytes", 0) for line in lines) > 100


def test_memory_that_is_not_there_is_named(tmp_path):
    code, said = Job(tmp_path, agents=4_000_000, unroll=1).run()
    assert code == 2, said[-800:]
    line = said.strip().splitlines()[-1]
    assert line.startswith("l2o meta-train: out of memory (") and "try agents 2000000" in line, line

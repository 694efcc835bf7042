"""Meta-training by several processes, as Slurm starts them, on the loopback address."""

import os
import signal
import socket
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from killing import STEPS, Workplace, history, record

pytestmark = [pytest.mark.long, pytest.mark.slow]
TASKS = 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def as_task(rank, port):
    """Return what Slurm tells a process of a step, and where the processes meet."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": str(TASKS),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "JAX_COORDINATOR_PORT": port,
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
        "JAX_PLATFORMS": "cpu",
    }


def srun(place, out, until=None):
    """Run `l2o meta-train --distributed` in two processes, or kill them once a file is there."""
    command = [*place.command(out), "--distributed", "--devices", "2"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    port = free_port()
    environments = [place.environment | as_task(rank, port) for rank in range(TASKS)]
    processes = [subprocess.Popen(command, env=env, **quiet) for env in environments]
    try:
        while until and not (place.folder / out / until).exists():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.02)
        if until:
            for process in processes:
                process.kill()
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    ends = [process.returncode for process in processes]
    assert ends == [-signal.SIGKILL if until else 0] * TASKS, "\n".join(outputs)
    return place.folder / out


def test_processes_that_share_a_population_end_as_one_does(tmp_path):
    place = Workplace(tmp_path)
    alone = place.train("alone")
    srun(place, "together", until=".state/state/4")
    together = srun(place, "together")
    assert history(together) == STEPS and record(together)["resumed_from"] in (4, 8)
    names = sorted(path.name for path in (alone / "checkpoints").iterdir())
    assert sorted(path.name for path in (together / "checkpoints").iterdir()) == names
    metrics = [pd.read_parquet(out / "metrics.parquet") for out in (alone, together)]
    np.testing.assert_allclose(*metrics, rtol=1e-3, atol=1e-5)
    files = {path.name for path in together.iterdir()}
    assert files - {"system.jsonl"} == {  # not there if it took less than ten seconds
        "checkpoints",
        "metrics.jsonl",
        "metrics.parquet",
        "run.json",
    }


def test_without_a_launcher_there_is_one_clear_error(tmp_path):
    command = [*Workplace(tmp_path).command("out"), "--distributed"]
    unmanaged = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(command, env=unmanaged, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "start the processes with srun" in done.stderr
    assert len(done.stderr.splitlines()) == 1

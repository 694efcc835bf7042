"""What a job takes of its machine, sampled every few seconds into ``system.jsonl``.

The names are MLflow's where it has one, so that its page "System metrics" shows them. Nothing here
is needed for a result: what cannot be read is left out, and a full disk ends the sampling.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from l2o.jobs.history import SYSTEM, History

_SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
_INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_DEFAULT_INTERVAL = 10.0
_GPU_QUERY = "index,utilization.gpu,memory.used,memory.total,power.draw"

_gpu_lock = threading.Lock()
_gpu_sample: tuple[float, dict[str, float]] = (float("-inf"), {})


class SystemMetrics:
    """Samples in a thread, from ``start`` to ``stop``; the steps count the samples.

    Attributes:
        history: What is written.
    """

    def __init__(self, out_dir: Path) -> None:
        """Describe the job by its directory."""
        self.history = History(out_dir / SYSTEM)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="l2o-system", daemon=True)

    def start(self, go_on: bool) -> None:
        """Begin to sample, unless MLflow's switch for system metrics is off.

        Args:
            go_on: Whether the job goes on with an execution that was killed, and with its samples.
        """
        self._interval = sampling_interval()
        self._step = (self.history.keep_until(float("inf")) or 0) if go_on else 0
        if self._interval is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the sampling; samples of an earlier job are removed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self.history.close()
        self.history.discard_stale()

    def _sample(self) -> None:
        usage = _ProcessUsage()
        # A job need not know that it is watched, nor end because the disk is full.
        with contextlib.suppress(OSError, ValueError):
            while not self._stop.wait(self._interval):
                self._step += 1
                self.history.append(self._step, usage.read() | _machine() | _gpus())


def sampling_interval() -> float | None:
    """Return the seconds between two samples, None if there shall be none."""
    if os.environ.get(_SWITCH, "").lower() in ("false", "0"):
        return None
    try:
        return max(float(os.environ.get(_INTERVAL, "")), 0.1)
    except ValueError:
        return _DEFAULT_INTERVAL


class _ProcessUsage:
    """The processor time of this process since the last reading, and its memory."""

    def __init__(self) -> None:
        self._before = self._times()

    def read(self) -> dict[str, float]:
        (wall, cpu), now = self._before, self._times()
        self._before = now
        percent = 100 * (now[1] - cpu) / max(now[0] - wall, 1e-6)
        values = {"process_cpu_utilization_percentage": round(percent, 1)}
        # Where there is no /proc, the memory is left out.
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            megabytes = pages * resource.getpagesize() / 1e6
            values["process_memory_usage_megabytes"] = round(megabytes, 1)
        return values

    @staticmethod
    def _times() -> tuple[float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return time.monotonic(), used.ru_utime + used.ru_stime


def _machine() -> dict[str, float]:
    try:
        import psutil
    except ImportError:  # comes with MLflow; a job can do without both
        return {}
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system_memory_usage_percentage": round(100 * memory.used / memory.total, 1),
    }


def _gpus() -> dict[str, float]:
    """Ask the driver's own tool, once for all jobs of this process."""
    global _gpu_sample
    # Asking JAX for its devices would make them, which is the job's business.
    uses_gpu = "jax" in sys.modules and os.environ.get("JAX_PLATFORMS") != "cpu"
    if not uses_gpu or shutil.which("nvidia-smi") is None:
        return {}
    with _gpu_lock:
        when, values = _gpu_sample
        if time.monotonic() - when > _DEFAULT_INTERVAL / 2:
            values = _ask_nvidia_smi()
            _gpu_sample = (time.monotonic(), values)
        return values


def _ask_nvidia_smi() -> dict[str, float]:
    command = ["nvidia-smi", f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        command.append(f"--id={visible}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return gpu_values(done.stdout)


def gpu_values(table: str) -> dict[str, float]:
    """Read the lines of ``nvidia-smi``: index, percent of use, MiB used, MiB in all, watts.

    A value that a device does not tell (``[N/A]``) is left out.
    """
    values: dict[str, float] = {}
    for line in table.splitlines():
        index, *cells = (cell.strip() for cell in line.split(","))
        names = ("utilization_percentage", "memory_usage_megabytes", "memory", "power_usage_watts")
        for name, cell in zip(names, cells, strict=False):
            with contextlib.suppress(ValueError):
                values[f"gpu_{index}_{name}"] = float(cell)
        used = values.get(f"gpu_{index}_memory_usage_megabytes")
        whole = values.pop(f"gpu_{index}_memory", None)
        if used is not None:
            values[f"gpu_{index}_memory_usage_megabytes"] = round(used * 2**20 / 1e6, 1)
        if used is not None and whole:
            values[f"gpu_{index}_memory_usage_percentage"] = round(100 * used / whole, 1)
    return values

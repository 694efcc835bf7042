"""What a result depends on besides its configuration: the code, the packages, the machine."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = ("l2o-rl", "jax", "jaxlib", "flax", "optax", "brax", "gymnax", "numpy")


def code() -> dict[str, Any]:
    """Return the commit, the package versions and the Python version."""
    return _git_state() | {"versions": _versions(), "python": platform.python_version()}


def machine() -> dict[str, Any]:
    """Return the device, the cores, the Slurm job and the peak memory of this process."""
    return {
        "device": _device(),
        "host_cores": os.cpu_count(),
        "slurm_job_id": _slurm_job_id(),
        "peak_memory_bytes": _peak_memory(),
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = dict.fromkeys(_PACKAGES)
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _git_state() -> dict[str, Any]:
    """Return the commit of the package's checkout and whether the package differs from it."""
    here = Path(__file__).resolve().parent
    commit = _git(here, "rev-parse", "--verify", "HEAD")
    # A package installed into an ignored environment inside some repository is not its code.
    if commit is None or _git(here, "check-ignore", "-q", str(here)) is not None:
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": bool(_git(here, "status", "--porcelain", "."))}


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints, or None if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _device() -> dict[str, Any] | None:
    """Describe the accelerator, if the job loaded JAX."""
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    try:
        devices = jax.devices()
        stats = [device.memory_stats() or {} for device in jax.local_devices()]
    except Exception:  # of any kind: without a CUDA build JAX only asserts that there is one
        return None
    first, peak = devices[0], max(stat.get("peak_bytes_in_use", 0) for stat in stats)
    return {
        "kind": first.device_kind,
        "platform": first.platform,
        "count": len(devices),
        "peak_memory_bytes": peak or None,
    }


def _slurm_job_id() -> str | None:
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

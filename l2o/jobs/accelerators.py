"""What JAX found no device for, or could not read in its variables, in one line. Imports no jax."""

import logging
import os
import re
import sys
import traceback
from pathlib import Path

# Where JAX reads its variables, when it is imported.
_SETTINGS = "jax/_src/config.py"
# Of a driver or a device that is missing or broken, as XLA has it when a program first runs.
_BROKEN = re.compile(
    r"Unable to initialize backend|[Nn]o (supported|visible|GPU|TPU)\b.*\b(devices?|found)\b"
    r"|driver version is insufficient|[Uu]nknown backend|library initialization failed"
    r"|CUDA_ERROR_(NO_DEVICE|INVALID_DEVICE|DEVICE_UNAVAILABLE|NOT_INITIALIZED|DEVICE_NOT_LICENSED"
    r"|SYSTEM_DRIVER_MISMATCH|SYSTEM_NOT_READY|COMPAT_NOT_SUPPORTED_ON_DEVICE|STUB_LIBRARY"
    r"|INSUFFICIENT_DRIVER|NO_BINARY_FOR_GPU|UNSUPPORTED_PTX_VERSION)"
    r"|(PJRT|plugin)\b.*\bversion\b.*\b(compatible|mismatch)"
)
_VARIABLE = re.compile(r"JAX flag (jax_\w+)")
_ADVICE = re.compile(r" \((?:set|you may need) [^)]*JAX_PLATFORMS[^)]*\)")


def jax_problem(error: BaseException) -> str | None:
    """Say in one line what JAX lacks on this machine, or return None for any other error.

    Args:
        error: What a stage raised.
    """
    said = _one_line(error)
    if isinstance(error, ValueError) and _raised_in(error).endswith(_SETTINGS):
        found = _VARIABLE.search(said)
        variable = f"{found[1].upper()}: " if found else ""
        return f"{variable}{said}; correct the variable, or unset it."
    if not isinstance(error, RuntimeError | AssertionError | ImportError):
        return None
    # Its message may be empty, and JAX cuts its own frames off: whether it can start tells.
    if not (cannot_start := _start()) and not (
        isinstance(error, RuntimeError) and _BROKEN.search(said)
    ):
        return None
    said = _ADVICE.sub("", said or cannot_start).rstrip(".") or "there is no such device"
    wanted = os.environ.get("JAX_PLATFORMS", "")
    place = f"JAX_PLATFORMS={wanted}: " if wanted else ""
    return f"{place}JAX cannot use its device: {said}; {_advice()}."


def _raised_in(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).as_posix() if frames else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _start() -> str:
    """Return why JAX has no devices, empty if it has some, or is not there."""
    jax = sys.modules.get("jax")
    try:
        if jax is not None:
            jax.devices()
    except Exception as error:  # of any kind: for some platforms JAX only asserts
        return _one_line(error) or "there is no such device"
    return ""


def _advice() -> str:
    """Return what to set: what JAX finds if it is not told where to look. The process ends then."""
    jax = sys.modules.get("jax")
    logging.disable(logging.CRITICAL)  # it tells what it tries
    try:
        jax.config.update("jax_platforms", "")
        there = sorted({device.platform for device in jax.devices()})
    except Exception:  # whatever it is, the first problem is the one to be told
        names = [name for name in os.environ if name.startswith(("JAX_", "CUDA_VISIBLE"))]
        return f"check what is set of {', '.join(sorted(names))}"
    finally:
        logging.disable(logging.NOTSET)
    return f"available here: {', '.join(there)}; set JAX_PLATFORMS={there[0]}, or unset it"

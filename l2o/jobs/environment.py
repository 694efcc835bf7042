"""What a process needs of its environment before jax is imported: a home, a cache. Imports no jax.

Containers and clusters give less than a desk does: no home, a user without a name, a read-only
file system. None of that is a reason to fail.
"""

import importlib.util
import logging
import os
from pathlib import Path

_CACHE = "JAX_COMPILATION_CACHE_DIR"
_DETERMINISTIC = "--xla_gpu_deterministic_ops"


def prepare(is_deterministic: bool) -> str | None:
    """Set what must be set before jax is imported, unless the user did.

    Args:
        is_deterministic: Whether a GPU must compute the same bits each time.

    Returns:
        Why compiled programs are not cached, in one line; None if they are, or nobody wants it.
    """
    home = _find_home()
    note = _set_cache(home)
    # Many programs take about a second to compile; loading them takes a tenth of that.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "MPLCONFIGDIR" not in os.environ and not _all_writable(home):
        # It takes a temporary folder instead, and tells at length.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
    flags = os.environ.get("XLA_FLAGS", "")
    has_gpu_build = importlib.util.find_spec("jax_plugins") is not None
    if is_deterministic and has_gpu_build and _DETERMINISTIC not in flags:
        # Kernels are chosen by timing them: a run that goes on after a kill could get others.
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}=true".strip()
    return note


def _find_home() -> Path | None:
    """Return the user's home; without one, give libraries that ask for it one that holds nothing.

    MLflow asks when it is imported, and fails.
    """
    if os.path.isabs(home := os.environ.get("HOME", "")):
        return None if home == os.devnull else Path(home)
    os.environ.pop("HOME", None)
    try:
        found = Path.home()  # as the system's list of users has it
    except RuntimeError:
        found = None
    if found is not None and found.is_absolute():
        os.environ["HOME"] = str(found)
        return found
    os.environ["HOME"] = os.devnull  # nothing can be made below it, not even by root
    return None


def _set_cache(home: Path | None) -> str | None:
    """Choose the folder of compiled programs; return why there is none."""
    wanted = os.environ.get(_CACHE)
    if wanted == "" or (wanted is not None and "://" in wanted):
        return None  # JAX's ways to say none, and a bucket
    if wanted is not None:
        # Shells put the home in, files of variables do not, and JAX would make a folder "~".
        folder = _expanded(wanted, home)
    else:
        folder = _xdg_folder("XDG_CACHE_HOME", ".cache", home)
        folder = folder and folder / "l2o" / "jax"
    if folder is not None and _is_writable(folder):
        os.environ[_CACHE] = str(folder)
        return None
    os.environ[_CACHE] = ""
    place = f"'{wanted or folder}' cannot be written" if wanted or folder else "there is no home"
    return (
        f"compiled programs were not cached: {place}; set JAX_COMPILATION_CACHE_DIR or "
        "XDG_CACHE_HOME to a folder that can be"
    )


def _expanded(wanted: str, home: Path | None) -> Path | None:
    if wanted != "~" and not wanted.startswith("~/"):
        return Path(wanted)
    return home and home / wanted[2:]


def _xdg_folder(variable: str, usual: str, home: Path | None) -> Path | None:
    """Return a base folder: by its specification an empty or relative value counts as none."""
    given = os.environ.get(variable, "")
    return Path(given) if os.path.isabs(given) else home and home / usual


def _all_writable(home: Path | None) -> bool:
    """Whether the folders can be written where matplotlib keeps its fonts and settings."""
    folders = (
        _xdg_folder("XDG_CACHE_HOME", ".cache", home),
        _xdg_folder("XDG_CONFIG_HOME", ".config", home),
    )
    return all(folder is not None and _could_be_made(folder / "matplotlib") for folder in folders)


def _is_writable(folder: Path) -> bool:
    """Make a folder; whether it is there and can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _could_be_made(folder: Path) -> bool:
    """Whether a folder is there, or can be made, by what is there. Makes nothing."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)

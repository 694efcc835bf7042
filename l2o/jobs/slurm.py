"""What the Slurm profile has to know about the cluster; see ``slurm/config.yaml``.

The Snakemake plugin takes ``sacct`` for the source of job states wherever the program exists. Where
it does but accounting is off, it fails for ever and the workflow never ends.
"""

import functools
import subprocess

_PATIENCE_S = 40
"""First interval between two looks at the queue, the plugin's default."""


@functools.cache
def controller_settings() -> dict[str, str]:
    """Return the settings of Slurm's controller, by lower-case name; none where there is no Slurm.

    A dry run is possible without Slurm, so that its absence is no error.
    """
    command = ["scontrol", "show", "config"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition("=") for line in done.stdout.splitlines() if "=" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def has_accounting() -> bool:
    """Return whether finished jobs are stored, so that ``sacct`` knows them."""
    kind = controller_settings().get("accountingstoragetype", "none")
    return kind.rpartition("/")[2].strip("()").lower() not in ("none", "null")


def first_look() -> int:
    """Return after how many seconds to look at the queue first.

    Without accounting a finished job is known for ``MinJobAge`` seconds. The plugin trusts the
    queue only if that is three times this interval.
    """
    words = controller_settings().get("minjobage", "300").split()
    known_for = int(words[0]) if words and words[0].isdigit() else 300
    return _PATIENCE_S if has_accounting() else max(1, min(_PATIENCE_S, known_for // 3))

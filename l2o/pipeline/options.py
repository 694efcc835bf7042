"""Options that several stages have."""

from l2o.pipeline.contract import Option, folder_option

BASELINES = folder_option("--baselines", "baselines", "folder of all baselines")
RECORDINGS = folder_option(
    "--recordings", "analysis/recordings", "folder with <source> of every recording"
)
RUNS = folder_option("--runs", "meta_train", "folder with <recipe>/seed_<seed> of every recipe")
SELECTION = folder_option("--selection", "select", "folder of the selection")


def devices_option(shared: str) -> Option:
    """Return ``--devices``; ``shared`` is what devices share."""
    keywords = {"type": int, "default": 1, "metavar": "N"}
    return Option("--devices", f"share the {shared} between devices", keywords=keywords)

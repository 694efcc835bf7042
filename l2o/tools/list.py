"""Names of tasks and optimizers."""

from __future__ import annotations

import argparse

HELP = "name the tasks and optimizers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
    parser.add_argument("what", choices=["tasks", "optimizers"])


def run(args: argparse.Namespace) -> None:
    """Print the names, one a line."""
    if args.what == "tasks":
        from l2o.tasks.registry import list_tasks

        print("\n".join(list_tasks()))
        return
    from l2o.optimizers.classical import list_classical
    from l2o.optimizers.registry import list_optimizers

    print("\n".join([*list_classical(), *list_optimizers()]))

"""Names of tasks and optimizers."""

from __future__ import annotations

import argparse

HELP = "name the tasks and optimizers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
    parser.add_argument("what", choices=["tasks", "optimizers"])


def run(args: argparse.Namespace) -> None:
    """Print the names, one a line. They are known without jax, which may have no device here."""
    from l2o import choices

    if args.what == "tasks":
        names = sorted([*choices.TOY_TASKS, *choices.PPO_TASKS])
    else:
        names = [*choices.CLASSICAL_OPTIMIZERS, *choices.LEARNED_OPTIMIZERS]
    print("\n".join(names))

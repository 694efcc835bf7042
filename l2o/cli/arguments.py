"""What the parsers of several stages share."""

import argparse
from collections.abc import Callable
from pathlib import Path


def stage(
    stages: argparse._SubParsersAction, name: str, text: str, run: Callable
) -> argparse.ArgumentParser:
    """Add the parser of a stage.

    Args:
        stages: What it is added to.
        name: The word after ``l2o``.
        text: What it does, for the help.
        run: Called with the parsed arguments; returns an exit code or ``None``.
    """
    parser = stages.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    return parser


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, the resolved configuration."""
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="resolved configuration, results/<scale>/config.json (`l2o config` makes one)",
    )


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--out``, the folder of the results."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--state``, for what outlives a kill."""
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="what a killed run resumes from (default OUT/.state)",
    )


def add_training_arguments(parser: argparse.ArgumentParser, shared: str) -> None:
    """Add ``--state`` and ``--devices``; ``shared`` is what devices share."""
    add_state_argument(parser)
    parser.add_argument(
        "--devices", type=int, default=1, metavar="N", help=f"share the {shared} between devices"
    )

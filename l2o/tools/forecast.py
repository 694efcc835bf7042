"""What a scale will take, from its rehearsal."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "say what a scale will take: time and memory of every kind of job, from its rehearsal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="resolved configuration of the scale, results/<scale>/config.json",
    )
    parser.add_argument(
        "--rehearsal",
        type=Path,
        required=True,
        metavar="DIR",
        help="what `snakemake rehearse` left, results/<scale>/.rehearsal",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table (.tsv)")


def run(args: argparse.Namespace) -> None:
    """Write the table, and print it with the totals.

    Raises:
        L2OError: Nothing was rehearsed, or not with this configuration's scale.
    """
    from l2o.config import files
    from l2o.files import write_text
    from l2o.workflow.forecast import as_text, forecast, totals

    table = forecast(files.load(args.config), args.rehearsal, args.config.parent)
    write_text(args.out, table.to_csv(sep="\t", index=False))
    print(as_text(table))
    print(totals(table))

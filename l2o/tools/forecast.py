"""What a scale will take, from its rehearsal."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "say what a scale will take: time and memory of every kind of job, from its rehearsal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
    parser.add_argument(
        "--rehearsal",
        type=Path,
        required=True,
        metavar="DIR",
        help="what `snakemake rehearse` leaves: results/<scale>/.rehearsal",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table (.tsv)")


def run(args: argparse.Namespace) -> None:
    """Write the table, and print it with the totals.

    Raises:
        L2OError: Not every kind of job was rehearsed.
    """
    from l2o.config import files
    from l2o.files import write_text
    from l2o.workflow.forecast import as_text, forecast, totals

    # What the scale is when it is not on trial, and where its own results are.
    scale, results = files.load(args.rehearsal / "scale.json"), args.rehearsal.parent
    table = forecast(scale, args.rehearsal, results)
    write_text(args.out, table.to_csv(sep="\t", index=False))
    print(as_text(table))
    print(totals(table))

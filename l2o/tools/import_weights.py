"""Weights of a reference implementation as a weight file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from l2o.errors import L2OError

HELP = "turn weights of a reference implementation into a weight file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="arrays named by their '/'-joined path (.npz; other arrays may lie beside those under "
        "meta/), or one vector (.npy)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="SOURCE",
        help="optim4rl, open or learned-optimization",
    )
    parser.add_argument(
        "--optimizer", metavar="NAME", help="needed if the source has weights of several"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter that the weights do not determine, for example grad_clip=null",
    )
    parser.add_argument("--learning-rate", type=float, help="the one to use by default")
    parser.add_argument("--licence", help="under which the weights are published")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help="*.safetensors"
    )


def run(args: argparse.Namespace) -> None:
    """Write the weight file that the command line describes."""
    from l2o.optimizers.imports.files import import_file

    if args.learning_rate is not None and not args.learning_rate > 0:
        raise L2OError(f"--learning-rate: must be positive; got {args.learning_rate}.")
    metadata = {"learning_rate": args.learning_rate, "licence": args.licence}
    optimizer = import_file(
        args.file,
        args.out,
        args.source.replace("-", "_"),
        args.optimizer,
        dict(map(_setting, args.settings)),
        {name: value for name, value in metadata.items() if value is not None},
    )
    print(f"{args.out}: weights of {optimizer.name}")


def _setting(text: str) -> tuple[str, object]:
    """Split ``NAME=VALUE``; what is not JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise L2OError(f"--set: want NAME=VALUE; got '{text}'.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value

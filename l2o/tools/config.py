"""A configuration, resolved and checked."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "resolve and check a configuration, and write it as one file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), metavar="FILE")
    parser.add_argument("--scale", help="another scale than the file's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    parser.add_argument("--keys", action="store_true", help="print what every key means, and stop")


def run(args: argparse.Namespace) -> None:
    """Print the resolved configuration or the table of keys, or write a file."""
    from l2o.config import files, keys
    from l2o.config.parsing import read_yaml

    if args.keys:
        print(keys.describe(), end="")
        return
    settings = read_yaml(args.config)
    if args.scale is not None:
        settings["scale"] = args.scale
    resolved = files.build(settings, args.config.parent)
    if args.out is None:
        print(files.dump(resolved), end="")
    else:
        files.write(resolved, args.out)

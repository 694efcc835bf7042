"""The command line: `l2o <stage>`, the one thing that workflow rules call."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from l2o import __version__
from l2o.cli.analysis import add_analysis
from l2o.cli.comparisons import add_comparisons
from l2o.cli.tools import add_tools
from l2o.cli.workflow import add_stages
from l2o.errors import L2OError
from l2o.jobs.failures import explain
from l2o.jobs.interrupts import EXIT_CODE, Interrupted, end_at_once
from l2o.redaction import redact_tracebacks

_BIT_FOR_BIT = ("meta-train", "sweep")
_DETERMINISTIC = "--xla_gpu_deterministic_ops"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage.

    Args:
        argv: Arguments without the program's name; by default the command line's.

    Returns:
        The exit code: 0, 2 after a one-line message about bad input or what the machine lacks, or
        75 when SIGTERM stopped the stage at a checkpoint, from which the same command goes on.
    """
    end_at_once()
    redact_tracebacks()
    args = build_parser().parse_args(argv)
    _set_environment(args.stage)
    try:
        return args.run(args) or 0
    except L2OError as error:
        print(f"l2o {args.stage}: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"l2o {args.stage}: {stop}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        message = explain(error, args)
        if message is None:
            raise
        print(f"l2o {args.stage}: {message}", file=sys.stderr)
        return 2


def _set_environment(stage: str) -> None:
    """Set what must be set before jax is imported, unless the user did."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "l2o" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    # Many programs take about a second to compile; loading them takes a tenth of that.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    flags = os.environ.get("XLA_FLAGS", "")
    has_gpu_build = importlib.util.find_spec("jax_plugins") is not None
    if stage in _BIT_FOR_BIT and has_gpu_build and _DETERMINISTIC not in flags:
        # Kernels are chosen by timing them: a run that goes on after a kill could get others.
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}=true".strip()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all stages."""
    parser = argparse.ArgumentParser(
        prog="l2o",
        description="Meta-train optimizers for reinforcement learning, select them, evaluate them.",
        epilog="`snakemake --cores all` runs all stages in order; each also runs alone.",
    )
    parser.add_argument("--version", action="version", version=f"l2o {__version__}")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    add_stages(stages)
    add_comparisons(stages)
    add_analysis(stages)
    add_tools(stages)
    return parser

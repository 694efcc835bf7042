"""The stages of the gradient studies."""

import argparse
from pathlib import Path

from l2o.cli.arguments import add_config_argument, add_out_argument, stage


def add_analysis(stages: argparse._SubParsersAction) -> None:
    """Add the parsers of these stages."""
    for add in (_add_record, _add_drift, _add_study, _add_identity):
        add(stages)


def _add_record(stages: argparse._SubParsersAction) -> None:
    text = "train agents with Adam and keep statistics of their gradients"
    parser = stage(stages, "record", text, _record)
    add_config_argument(parser)
    parser.add_argument("--source", required=True, help="a source of analysis.sources")
    add_out_argument(parser)


def _record(args: argparse.Namespace) -> None:
    from l2o.analysis.record import record
    from l2o.config.files import load

    record(load(args.config), args.source, args.out)


def _add_drift(stages: argparse._SubParsersAction) -> None:
    text = "record the gradients that meta-training sees, with and without pipeline training"
    parser = stage(stages, "drift", text, _drift)
    add_config_argument(parser)
    add_out_argument(parser)


def _drift(args: argparse.Namespace) -> None:
    from l2o.analysis.drift import drift
    from l2o.config.files import load

    drift(load(args.config), args.out)


def _add_study(stages: argparse._SubParsersAction) -> None:
    parser = stage(stages, "study", "tables and figures from recorded gradients", _study)
    add_config_argument(parser)
    parser.add_argument("--study", required=True, help="range, non_iid or noise")
    _add_recordings_argument(parser)
    parser.add_argument("--drift", type=Path, help="folder of `l2o drift`, for the study non_iid")
    add_out_argument(parser)


def _study(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.report.gradient_studies import study

    drift = args.drift or args.recordings.parent / "drift"
    study(load(args.config), args.study, args.recordings, drift, args.out)


def _add_identity(stages: argparse._SubParsersAction) -> None:
    text = "train networks to reproduce recorded gradients, with every gradient processing"
    parser = stage(stages, "identity", text, _identity)
    add_config_argument(parser)
    parser.add_argument("--source", required=True, help="a source of analysis.sources")
    _add_recordings_argument(parser)
    add_out_argument(parser)


def _identity(args: argparse.Namespace) -> None:
    from l2o.analysis.identity import identity
    from l2o.config.files import load

    identity(load(args.config), args.source, args.recordings, args.out)


def _add_recordings_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recordings", type=Path, required=True, help="folder with <source> of every recording"
    )

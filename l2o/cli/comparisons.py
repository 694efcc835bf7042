"""The stages that compare recipes: sweeps and ablations."""

import argparse
from pathlib import Path

from l2o.cli.arguments import (
    add_config_argument,
    add_out_argument,
    add_training_arguments,
    stage,
)


def add_comparisons(stages: argparse._SubParsersAction) -> None:
    """Add the parsers of these stages."""
    for add in (_add_sweep, _add_score_sweep, _add_level, _add_ablate):
        add(stages)


def _add_sweep(stages: argparse._SubParsersAction) -> None:
    text = "meta-train every row of a sweep's table, side by side where they can share a program"
    parser = stage(stages, "sweep", text, _sweep)
    add_config_argument(parser)
    parser.add_argument("--sweep", required=True, help="sweep, for example meta_learning_rate")
    parser.add_argument(
        "--row", metavar="FOLDER", help="only this row, for example meta_learning_rate~0.001/seed~0"
    )
    add_training_arguments(parser, "rows")
    add_out_argument(parser)


def _sweep(args: argparse.Namespace) -> None:
    from l2o.config.files import load

    config = load(args.config)
    from l2o.meta.devices import use_devices

    use_devices(args.devices)  # before gymnax is imported, which starts JAX
    from l2o.meta.sweep import sweep

    state = args.state or args.out / ".state"
    sweep(config, args.sweep, args.out, state, args.devices, args.row)


def _add_score_sweep(stages: argparse._SubParsersAction) -> None:
    text = "score every checkpoint of a sweep on the validation tasks, and name the best"
    parser = stage(stages, "score-sweep", text, _score_sweep)
    add_config_argument(parser)
    parser.add_argument("--sweep", required=True, help="sweep, for example meta_learning_rate")
    parser.add_argument("--runs", type=Path, required=True, help="folder with the rows' runs")
    parser.add_argument("--baselines", type=Path, required=True, help="folder of all baselines")
    add_out_argument(parser)


def _score_sweep(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.evaluation.sweep import score_sweep

    score_sweep(load(args.config), args.sweep, args.runs, args.baselines, args.out)


def _add_level(stages: argparse._SubParsersAction) -> None:
    text = "train agents with the last checkpoints of a recipe, and with its untrained ones"
    parser = stage(stages, "level", text, _level)
    add_config_argument(parser)
    parser.add_argument("--recipe", required=True, help="what was meta-trained")
    parser.add_argument("--where", required=True, help="toy (all toy tasks), or a task of PPO")
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder with <recipe>/seed_<seed> of every recipe"
    )
    add_out_argument(parser)


def _level(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.evaluation.levels import level

    level(load(args.config), args.recipe, args.where, args.runs, args.out)


def _add_ablate(stages: argparse._SubParsersAction) -> None:
    parser = stage(stages, "ablate", "compare recipes that differ in one thing", _ablate)
    add_config_argument(parser)
    parser.add_argument("--name", required=True, help="ablation, for example inductive_bias")
    parser.add_argument(
        "--levels", type=Path, required=True, help="folder with the results of `l2o level`"
    )
    parser.add_argument(
        "--baselines", type=Path, required=True, help="folder of the tasks' baselines"
    )
    add_out_argument(parser)


def _ablate(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.statistics.effects import ablate

    ablate(load(args.config), args.name, args.levels, args.baselines, args.out)

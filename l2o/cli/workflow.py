"""The stages of the pipeline, from meta-training to the report."""

import argparse
from pathlib import Path

from l2o.cli.arguments import (
    add_config_argument,
    add_out_argument,
    add_state_argument,
    add_training_arguments,
    stage,
)


def add_stages(stages: argparse._SubParsersAction) -> None:
    """Add the parsers of these stages."""
    for add in (
        _add_meta_train,
        _add_baselines,
        _add_select,
        _add_tune,
        _add_transfer,
        _add_transfer_summary,
        _add_report,
        _add_track,
        _add_config,
    ):
        add(stages)


def _add_meta_train(stages: argparse._SubParsersAction) -> None:
    parser = stage(stages, "meta-train", "meta-train an optimizer by a recipe", _meta_train)
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="a recipe (YAML), or a resolved configuration with --recipe",
    )
    parser.add_argument("--recipe", help="name of a recipe in the resolved configuration")
    parser.add_argument("--seed", type=int, default=0, help="root of every random key (default 0)")
    add_training_arguments(parser, "population")
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="one of several processes that share the population, as srun starts them",
    )
    add_out_argument(parser)


def _meta_train(args: argparse.Namespace) -> None:
    from l2o.config.files import load, load_recipe

    if args.recipe is None:
        recipe, name, scale = load_recipe(args.config), args.config.stem, "custom"
    else:
        config = load(args.config)
        recipe, name, scale = config.get_recipe(args.recipe), args.recipe, config.scale
    from l2o.meta.devices import use_devices

    # Before gymnax is imported, which starts JAX.
    devices = use_devices(args.devices, args.distributed)
    from l2o.meta.train import Member, meta_train

    member = Member(recipe, name, args.seed, args.out)
    meta_train([member], args.state or args.out / ".state", {"scale": scale}, devices)


def _add_baselines(stages: argparse._SubParsersAction) -> None:
    text = "tune classical optimizers on a toy task and record their learning curves"
    parser = stage(stages, "baselines", text, _baselines)
    add_config_argument(parser)
    parser.add_argument("--task", required=True, help="toy task")
    add_out_argument(parser)


def _baselines(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.evaluation.baselines import baselines

    baselines(load(args.config), args.task, args.out)


def _add_select(stages: argparse._SubParsersAction) -> None:
    parser = stage(
        stages, "select", "choose a checkpoint by its score on the validation tasks", _select
    )
    add_config_argument(parser)
    parser.add_argument(
        "--runs",
        dest="series",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="the recipe's meta-training runs, .../seed_<seed>",
    )
    parser.add_argument("--baselines", type=Path, required=True, help="folder of all baselines")
    add_out_argument(parser)


def _select(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.evaluation.selection import select

    select(load(args.config), args.series, args.baselines, args.out)


def _add_tune(stages: argparse._SubParsersAction) -> None:
    text = "choose every optimizer's learning rate for the transfer, on the tuning tasks"
    parser = stage(stages, "tune", text, _tune)
    _add_sources(parser)
    add_out_argument(parser)


def _tune(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.evaluation.transfer import Sources, tune_for_transfer

    state = args.state or args.out / ".state"
    tune_for_transfer(load(args.config), Sources(args.selection, args.runs), args.out, state)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--selection", type=Path, required=True, help="folder of the selection")
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder with <recipe>/seed_<seed> of every recipe"
    )
    add_state_argument(parser)


def _add_transfer(stages: argparse._SubParsersAction) -> None:
    text = "train unseen agents with the champion and with everything it is compared with"
    parser = stage(stages, "transfer", text, _transfer)
    _add_sources(parser)
    parser.add_argument("--tuned", type=Path, required=True, help="folder of `l2o tune`")
    parser.add_argument("--task", required=True, help="test task")
    parser.add_argument("--variant", help="an agent off the preset, from transfer.variants")
    add_out_argument(parser)


def _transfer(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.evaluation.transfer import Sources, transfer

    state = args.state or args.out / ".state"
    sources = Sources(args.selection, args.runs)
    transfer(load(args.config), sources, args.tuned, args.task, args.out, state, args.variant)


def _add_transfer_summary(stages: argparse._SubParsersAction) -> None:
    text = "aggregate the scores of all test tasks, with intervals and figures"
    parser = stage(stages, "transfer-summary", text, _transfer_summary)
    add_config_argument(parser)
    parser.add_argument(
        "--transfer", type=Path, required=True, help="folder with the results of every test task"
    )
    add_out_argument(parser)


def _transfer_summary(args: argparse.Namespace) -> None:
    from l2o.config.files import load
    from l2o.report.transfer_summary import transfer_summary

    transfer_summary(load(args.config), args.transfer, args.out)


def _add_report(stages: argparse._SubParsersAction) -> None:
    parser = stage(stages, "report", "write one HTML page about everything that ran", _report)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<scale>")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page")


def _report(args: argparse.Namespace) -> None:
    from l2o.report.page import build_report

    build_report(args.results, args.out)


def _add_track(stages: argparse._SubParsersAction) -> None:
    text = "bring finished jobs into MLflow, each exactly once, or show them (sync, ui)"
    parser = stage(stages, "track", text, _track)
    parser.add_argument(
        "action", choices=["sync", "ui"], help="deliver, or browse on this machine only"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results"
    )
    parser.add_argument("--uri", help="MLflow tracking URI (default: a database in RESULTS)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write what was delivered as JSON; an unreachable store is then no failure",
    )
    parser.add_argument("--port", type=int, default=5000, help="of the pages (default: 5000)")


def _track(args: argparse.Namespace) -> int:
    from l2o.tracking import main_sync, main_ui

    if args.action == "ui":
        return main_ui(args.results, args.uri, args.port)
    return main_sync(args.results, args.uri, args.out)


def _add_config(stages: argparse._SubParsersAction) -> None:
    text = "resolve and check a configuration, and write it as one file"
    parser = stage(stages, "config", text, _config)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), metavar="FILE")
    parser.add_argument("--scale", help="another scale than the file's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    parser.add_argument("--keys", action="store_true", help="print what every key means, and stop")


def _config(args: argparse.Namespace) -> None:
    from l2o import config
    from l2o.config import keys as config_keys

    if args.keys:
        print(config_keys.describe(), end="")
        return
    settings = config.read_yaml(args.config)
    if args.scale is not None:
        settings["scale"] = args.scale
    resolved = config.build(settings, args.config.parent)
    if args.out is None:
        print(config.dump(resolved), end="")
    else:
        config.write(resolved, args.out)

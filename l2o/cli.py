"""The command line: `l2o <stage>`, the one thing that workflow rules call."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from l2o import __version__
from l2o.errors import L2OError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage.

    Args:
        argv: Arguments without the program's name; by default the command line's.

    Returns:
        The exit code: 0, or 2 after a one-line message about bad input.
    """
    args = build_parser().parse_args(argv)
    _set_environment()
    try:
        return args.run(args) or 0
    except L2OError as error:
        print(f"l2o {args.stage}: {error}", file=sys.stderr)
        return 2


def _set_environment() -> None:
    """Set what must be set before jax is imported, unless the user did."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "l2o" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    # Many programs take about a second to compile; loading them takes a tenth of that.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all stages."""
    parser = argparse.ArgumentParser(
        prog="l2o",
        description="Meta-train optimizers for reinforcement learning, select them, evaluate them.",
        epilog="`snakemake --cores all` runs all stages in order; each also runs alone.",
    )
    parser.add_argument("--version", action="version", version=f"l2o {__version__}")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for add in (
        _add_evaluate,
        _add_meta_train,
        _add_baselines,
        _add_select,
        _add_transfer,
        _add_ablate,
        _add_report,
        _add_track,
        _add_list,
        _add_config,
    ):
        add(stages)
    return parser


def _stage(
    stages: argparse._SubParsersAction, name: str, text: str, run: object
) -> argparse.ArgumentParser:
    parser = stages.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    return parser


def _add_config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="resolved configuration, results/<scale>/config.json (`l2o config` makes one)",
    )


def _add_out_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )


def _add_evaluate(stages: argparse._SubParsersAction) -> None:
    text = "train fresh agents on a toy task with one optimizer and record learning curves"
    parser = _stage(stages, "evaluate", text, _evaluate)
    parser.add_argument("--task", required=True, help="toy task, for example small_dense_short")
    parser.add_argument(
        "--optimizer",
        required=True,
        help="adam, rmsprop, sign, ...; a learned optimizer's name (untrained); or a weight file",
    )
    parser.add_argument("--learning-rate", type=float, help="default: the one in the weight file")
    parser.add_argument("--seeds", type=int, default=8, help="agents to train (default 8)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first (default 0)")
    parser.add_argument("--environments", type=int, help="per agent (default: the published 512)")
    parser.add_argument("--updates", type=int, help="per lifetime (default: the published 488)")
    parser.add_argument("--points", type=int, default=20, help="points of the curve (default 20)")
    parser.add_argument("--torso", help="network torso: D32, D256 or C16-D32 (default: published)")
    parser.add_argument(
        "--border", action="store_true", help="keep the wall border in gridworld observations"
    )
    _add_out_argument(parser)


def _evaluate(args: argparse.Namespace) -> None:
    from l2o.evaluation.single import evaluate_one

    evaluate_one(args)


def _add_meta_train(stages: argparse._SubParsersAction) -> None:
    parser = _stage(stages, "meta-train", "meta-train an optimizer by a recipe", _meta_train)
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="a recipe (YAML), or a resolved configuration with --recipe",
    )
    parser.add_argument("--recipe", help="name of a recipe in the resolved configuration")
    parser.add_argument("--seed", type=int, default=0, help="root of every random key (default 0)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="what a killed run resumes from (default OUT/.state)",
    )
    _add_out_argument(parser)


def _meta_train(args: argparse.Namespace) -> None:
    from l2o.config import load, load_recipe

    if args.recipe is None:
        recipe, name, scale = load_recipe(args.config), args.config.stem, "custom"
    else:
        config = load(args.config)
        recipe, name, scale = config.get_recipe(args.recipe), args.recipe, config.scale
    from l2o.meta.train import meta_train

    meta_train(recipe, name, args.seed, args.out, args.state or args.out / ".state", scale)


def _add_baselines(stages: argparse._SubParsersAction) -> None:
    text = "tune classical optimizers on a toy task and record their learning curves"
    parser = _stage(stages, "baselines", text, _baselines)
    _add_config_argument(parser)
    parser.add_argument("--task", required=True, help="toy task")
    _add_out_argument(parser)


def _baselines(args: argparse.Namespace) -> None:
    from l2o.config import load
    from l2o.evaluation.baselines import baselines

    baselines(load(args.config), args.task, args.out)


def _add_select(stages: argparse._SubParsersAction) -> None:
    parser = _stage(
        stages, "select", "choose a checkpoint by its score on the validation tasks", _select
    )
    _add_config_argument(parser)
    parser.add_argument("--run", dest="series", type=Path, required=True, help="meta-training run")
    parser.add_argument("--baselines", type=Path, required=True, help="folder of all baselines")
    _add_out_argument(parser)


def _select(args: argparse.Namespace) -> None:
    from l2o.config import load
    from l2o.evaluation.select import select

    select(load(args.config), args.series, args.baselines, args.out)


def _add_transfer(stages: argparse._SubParsersAction) -> None:
    text = "train Brax agents with the champion and with tuned classical optimizers"
    parser = _stage(stages, "transfer", text, _transfer)
    _add_config_argument(parser)
    parser.add_argument("--selection", type=Path, required=True, help="folder of the selection")
    parser.add_argument("--task", required=True, help="Brax task")
    _add_out_argument(parser)


def _transfer(args: argparse.Namespace) -> None:
    from l2o.config import load
    from l2o.evaluation.transfer import transfer

    transfer(load(args.config), args.selection, args.task, args.out)


def _add_ablate(stages: argparse._SubParsersAction) -> None:
    parser = _stage(stages, "ablate", "compare recipes that differ in one thing", _ablate)
    _add_config_argument(parser)
    parser.add_argument("--name", required=True, help="ablation, for example inductive_bias")
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder with <recipe>/seed_<seed> of every recipe"
    )
    _add_out_argument(parser)


def _ablate(args: argparse.Namespace) -> None:
    from l2o.config import load
    from l2o.evaluation.ablate import ablate

    ablate(load(args.config), args.name, args.runs, args.out)


def _add_report(stages: argparse._SubParsersAction) -> None:
    parser = _stage(stages, "report", "write one HTML page about everything that ran", _report)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<scale>")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page")


def _report(args: argparse.Namespace) -> None:
    from l2o.report.build import build_report

    build_report(args.results, args.out)


def _add_track(stages: argparse._SubParsersAction) -> None:
    text = "bring finished jobs into MLflow, each exactly once"
    parser = _stage(stages, "track", text, _track)
    parser.add_argument("action", choices=["sync"], help="what to do")
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


def _track(args: argparse.Namespace) -> int:
    from l2o.tracking import main_sync

    return main_sync(args.results, args.uri, args.out)


def _add_list(stages: argparse._SubParsersAction) -> None:
    parser = _stage(stages, "list", "name the tasks and optimizers", _list)
    parser.add_argument("what", choices=["tasks", "optimizers"])


def _list(args: argparse.Namespace) -> None:
    if args.what == "tasks":
        from l2o.tasks.registry import list_tasks

        print("\n".join(list_tasks()))
        return
    from l2o.optimizers.classical import list_classical
    from l2o.optimizers.registry import list_optimizers

    print("\n".join([*list_classical(), *list_optimizers()]))


def _add_config(stages: argparse._SubParsersAction) -> None:
    text = "resolve and check a configuration, and write it as one file"
    parser = _stage(stages, "config", text, _config)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), metavar="FILE")
    parser.add_argument("--scale", help="another scale than the file's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    parser.add_argument("--keys", action="store_true", help="print what every key means, and stop")


def _config(args: argparse.Namespace) -> None:
    from l2o import config, config_keys

    if args.keys:
        print(config_keys.describe(), end="")
        return
    settings = config.read_yaml(args.config)
    if args.scale:
        settings["scale"] = args.scale
    resolved = config.build(settings, args.config.parent)
    if args.out is None:
        print(config.dump(resolved), end="")
    else:
        config.write(resolved, args.out)


if __name__ == "__main__":
    sys.exit(main())

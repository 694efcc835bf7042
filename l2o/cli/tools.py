"""What a user calls by hand: one evaluation, weights from elsewhere, names."""

import argparse
from pathlib import Path

from l2o.cli.arguments import add_out_argument, stage
from l2o.errors import L2OError


def add_tools(stages: argparse._SubParsersAction) -> None:
    """Add the parsers of these stages."""
    for add in (_add_evaluate, _add_import_weights, _add_list):
        add(stages)


def _add_evaluate(stages: argparse._SubParsersAction) -> None:
    text = "train fresh agents on a toy task with one optimizer and record learning curves"
    parser = stage(stages, "evaluate", text, _evaluate)
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
    add_out_argument(parser)


def _evaluate(args: argparse.Namespace) -> None:
    from l2o.evaluation.single import evaluate_one

    evaluate_one(args)


def _add_import_weights(stages: argparse._SubParsersAction) -> None:
    text = "turn weights of a reference implementation into a weight file"
    parser = stage(stages, "import-weights", text, _import_weights)
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


def _import_weights(args: argparse.Namespace) -> None:
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
    import json

    name, equals, value = text.partition("=")
    if not equals:
        raise L2OError(f"--set: want NAME=VALUE; got '{text}'.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _add_list(stages: argparse._SubParsersAction) -> None:
    parser = stage(stages, "list", "name the tasks and optimizers", _list)
    parser.add_argument("what", choices=["tasks", "optimizers"])


def _list(args: argparse.Namespace) -> None:
    if args.what == "tasks":
        from l2o.tasks.registry import list_tasks

        print("\n".join(list_tasks()))
        return
    from l2o.optimizers.classical import list_classical
    from l2o.optimizers.registry import list_optimizers

    print("\n".join([*list_classical(), *list_optimizers()]))

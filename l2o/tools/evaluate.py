"""One optimizer on one toy task."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train fresh agents on a toy task with one optimizer and record learning curves"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this tool."""
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
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate what the command line describes.

    Writes ``curves.parquet``, ``finals.parquet`` and ``run.json`` in ``args.out``, and prints the
    mean final return with its interval.

    Raises:
        L2OError: An unknown task or optimizer, a damaged weight file, or a budget out of range.
    """
    from l2o.config.budgets import ToyBudget
    from l2o.config.parsing import parse
    from l2o.config.parts import ToyTraining
    from l2o.errors import ConfigError
    from l2o.evaluation.candidates import resolve
    from l2o.evaluation.evaluate import evaluate, show_points
    from l2o.evaluation.toy_tasks import toy_lifetime
    from l2o.files import write_table
    from l2o.jobs.record import Run
    from l2o.statistics.returns import final_returns, summarize

    settings = _budget(args)
    budget = parse(ToyBudget, settings, "evaluate")
    if args.seeds < 1:
        raise ConfigError(f"--seeds: must be at least 1; got {args.seeds}.")
    candidate = resolve(args.optimizer, args.learning_rate)
    lifetime, length = toy_lifetime(args.task, ToyTraining(budget, interior=not args.border))
    config = settings | {"optimizer": args.optimizer, "learning_rate": candidate.learning_rate}
    tags = {"task": args.task, "optimizer": candidate.label}
    with Run(args.out, stage="evaluate", config=config, seed=args.first_seed, tags=tags) as run:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        curves = evaluate(args.task, lifetime, [candidate], seeds, length, show_points(run))
        finals = final_returns(curves)
        write_table(args.out / "curves.parquet", curves)
        write_table(args.out / "finals.parquet", finals)
        row = summarize(finals, ["optimizer"]).iloc[0]
        run.summary({"final_return": row["mean"], "low": row["low"], "high": row["high"]})
    interval = f", 95% interval {row['low']:.3f} to {row['high']:.3f}" if row["seeds"] >= 3 else ""
    print(
        f"{args.task}, {candidate.label} at {candidate.learning_rate:g}: final return "
        f"{row['mean']:.3f}{interval} ({row['seeds']} seeds). Curves: {args.out / 'curves.parquet'}"
    )


def _budget(args: argparse.Namespace) -> dict[str, object]:
    """Return what the command line says of the budget, else what is published for the task."""
    from l2o.tasks.registry import toy_task

    published = toy_task(args.task)
    return {
        "environments": (
            published.environments if args.environments is None else args.environments
        ),
        "updates": published.updates if args.updates is None else args.updates,
        "points": args.points,
        "torso": args.torso,
    }

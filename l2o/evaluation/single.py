"""The stage `evaluate`: one optimizer on one toy task."""

import argparse

from l2o.config.files import parse
from l2o.config.models import ToyBudget
from l2o.errors import ConfigError
from l2o.evaluation.candidates import resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.toy_tasks import toy_lifetime
from l2o.files import write_table
from l2o.jobs.record import Run
from l2o.statistics.returns import final_returns, summarize
from l2o.tasks.registry import toy_task


def evaluate_one(args: argparse.Namespace) -> None:
    """Evaluate what the command line describes.

    Writes ``curves.parquet``, ``finals.parquet`` and ``run.json`` in ``args.out``, and prints the
    mean final return with its interval.

    Raises:
        L2OError: An unknown task or optimizer, a damaged weight file, or a budget out of range.
    """
    published = toy_task(args.task)
    settings = {
        "environments": (
            published.environments if args.environments is None else args.environments
        ),
        "updates": published.updates if args.updates is None else args.updates,
        "points": args.points,
        "torso": args.torso,
    }
    budget = parse(ToyBudget, settings, "evaluate")
    if args.seeds < 1:
        raise ConfigError(f"--seeds: must be at least 1; got {args.seeds}.")
    candidate = resolve(args.optimizer, args.learning_rate)
    lifetime, length = toy_lifetime(args.task, budget, interior=not args.border)
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

"""Compare the PPO loop with Brax's own: ``python tests/benchmarks/brax_ppo.py``.

``brax.training.agents.ppo.train`` needs jax < 0.10, so it runs in an environment of its own, which
``--make-environment`` makes. Both sides train on the same task with the same hyperparameters and
number of updates and seeds, at the ``quick`` scale's settings:

- Final returns: mean, standard error, and the 95% bootstrap interval of the difference of means.
  Also with the gradient clipped elementwise at 1, as everywhere in this project but not in Brax.
- Throughput of one agent, without compilation: both sides in turn, a few updates and an evaluation
  each, so that what else the machine does meets both.

``--check`` fails if an interval leaves out 0 or the median throughput is below Brax's.
"""

import argparse
import dataclasses
import importlib.metadata
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import optax
from _brax_reference import REFERENCE, ROOT, Reference, make_environment, reference_request

from l2o.config import files as config
from l2o.config.parts import PPOTraining, ppo_training
from l2o.evaluation.candidates import Candidate, families
from l2o.evaluation.evaluate import evaluate
from l2o.evaluation.ppo_tasks import ppo_lifetime
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.classical import classical
from l2o.seeding import key_for
from l2o.statistics.returns import final_returns

Tree = Any
PACKAGES = ("brax", "jax", "flax", "optax", "mujoco")
AT_LEAST = 1.0  # median throughput, as a multiple of Brax's
WARM_UP = 2  # rounds that compile


@dataclasses.dataclass(frozen=True)
class PlainAdam(LearnedOptimizer):
    """Adam without a bound on the gradient, which the classical optimizers of this project have."""

    name: ClassVar[str] = "plain_adam"
    coordinate_wise: ClassVar[bool] = True

    def init_meta(self, key: jax.Array) -> Tree:
        """Return no meta-parameters."""
        return ()

    def transform(
        self, meta_params: Tree, learning_rate: optax.ScalarOrSchedule = 1.0
    ) -> optax.GradientTransformationExtraArgs:
        """Return optax's Adam."""
        return classical("adam", learning_rate, grad_clip=None)


def candidates(learning_rate: float) -> list[Candidate]:
    """Return Adam as Brax has it, and as this project has it."""
    return [
        Candidate("ours", PlainAdam(), learning_rate, ()),
        Candidate("ours, gradient clipped", "adam", learning_rate),
    ]


# What the quick scale does not say: twice its minibatches, and time limits as Brax treats them.
PPO = {"batch_size": 64, "env_steps": 204_800, "truncation": "mask"}


def quick_training(episodes: int, points: int) -> PPOTraining:
    """Return how agents are trained at scale ``quick``, with so much of it to compare."""
    settings = config.read_yaml(ROOT / "config" / "config.yaml") | {"scale": "quick"}
    usual = ppo_training(config.build(settings, ROOT / "config"))
    ppo = usual.ppo.model_copy(update=PPO)
    return usual._replace(episodes=episodes, points=points, ppo=ppo)


def difference_interval(
    ours: Sequence[float], theirs: Sequence[float], resamples: int = 10_000
) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of mean(ours) - mean(theirs)."""
    rng = np.random.default_rng(0)
    means = [
        rng.choice(np.asarray(side), (resamples, len(side))).mean(axis=1) for side in (ours, theirs)
    ]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(low), float(high)


def compare_returns(task: str, args: argparse.Namespace) -> bool:
    """Print a table of final returns; return whether those of the same Adam agree."""
    training = quick_training(args.episodes, args.points)
    lifetime, budget = ppo_lifetime(task, training, args.seeds, args.env_steps)
    every = -(-budget.updates // budget.points)
    request = reference_request(
        task, training, args.learning_rate, every * budget.points, budget.points
    )
    theirs: dict[int, float] = {}
    request |= {"seeds": [*range(args.seeds)], "paced": False}
    with Reference(args.reference_python, request) as run:
        for line in run:
            if "versions" in line:
                print(f"Brax's: {_listed(line['versions'])}", flush=True)
            else:
                theirs[line["seed"]] = line["return"]  # the last one stays
    curves = evaluate(task, lifetime, candidates(args.learning_rate), range(args.seeds), budget)
    finals = final_returns(curves)

    steps = every * budget.points * lifetime.steps_per_update
    print(
        f"\nFinal return on {task} ({training.backend}) after {steps:,} steps, Adam at "
        f"{args.learning_rate:g}, {args.seeds} seeds, {args.episodes} episodes each"
    )
    print("| | mean | se | difference, 95% interval |\n|---|---|---|---|")
    reference = [*theirs.values()]
    print(f"| Brax | {_mean_and_se(reference)} | |")
    agree = True
    for label, values in finals.groupby("optimizer")["final"]:
        low, high = difference_interval(values, reference)
        difference = f"{values.mean() - np.mean(reference):.1f} ({low:.1f} to {high:.1f})"
        print(f"| {label} | {_mean_and_se(values)} | {difference} |", flush=True)
        if label == "ours":
            agree = low <= 0 <= high
    if args.verbose:
        print("Brax:", *(f"{value:.0f}" for value in sorted(reference)))
        for label, values in finals.groupby("optimizer")["final"]:
            print(f"{label}:", *(f"{value:.0f}" for value in sorted(values)))
    return agree


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _mean_and_se(values: Sequence[float]) -> str:
    values = np.asarray(values)
    return f"{values.mean():.1f} | {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def compare_throughput(task: str, args: argparse.Namespace) -> bool:
    """Print a table of times; return whether our loop is fast enough."""
    training = quick_training(args.episodes, 1)
    lifetime, _ = ppo_lifetime(task, training, seeds=1)
    rounds = WARM_UP + args.rounds
    (family,) = families(candidates(args.learning_rate)[:1])
    keys = key_for(0, "evaluate", task)[None]
    state = lifetime.init(family.program, family.values, keys, rounds * args.updates)

    def train() -> float:
        nonlocal state
        began = time.perf_counter()
        state = lifetime.train(family.program, family.values, state, args.updates)
        jax.block_until_ready(state)
        return time.perf_counter() - began

    def play() -> float:
        began = time.perf_counter()
        jax.block_until_ready(lifetime.advance(family.program, family.values, state, 0))
        return time.perf_counter() - began

    request = reference_request(task, training, args.learning_rate, rounds * args.updates, rounds)
    request |= {"seeds": [0], "paced": True}
    ours, theirs = [], []
    with Reference(args.reference_python, request) as run:
        for line in run:
            if line.get("env_steps"):
                theirs.append((line["training_seconds"], line["evaluation_seconds"]))
                ours.append((train(), play()))
            run.resume()
    ours, theirs = np.array(ours[WARM_UP:]), np.array(theirs[WARM_UP:])  # [rounds, 2]

    steps = args.updates * lifetime.steps_per_update
    print(
        f"\nOne agent on {task} ({training.backend}), {args.rounds} times in turn: {steps:,} "
        f"steps, then {args.episodes} episodes of at most "
        f"{lifetime.agent.settings.episode_length} steps\n"
        "| | Brax, seconds | ours, seconds | times Brax's speed: best | median of rounds |\n"
        "|---|---|---|---|---|"
    )
    ratio = _row("training", ours[:, 0], theirs[:, 0])
    _row("evaluation", ours[:, 1], theirs[:, 1])
    rates = (steps / np.median(side[:, 0]) for side in (theirs, ours))
    print("Median steps per second: Brax {:,.0f}, ours {:,.0f}".format(*rates), flush=True)
    return ratio >= AT_LEAST


def _row(part: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Print times ``[rounds]`` beside each other; return the median of the rounds' ratios."""
    # Within a round both sides meet nearly the same load of the machine.
    best, median = theirs.min() / ours.min(), np.median(theirs / ours)
    sides = [f"{side.min():.2f}, median {np.median(side):.2f}" for side in (theirs, ours)]
    print(f"| {part} | {sides[0]} | {sides[1]} | {best:.2f} | {median:.2f} |")
    return float(median)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", nargs="+", default=["inverted_pendulum"], help="of Brax")
    parser.add_argument("--seeds", type=int, default=40, help="agents on each side")
    parser.add_argument("--env-steps", type=int, help="of a lifetime (default: the scale's)")
    parser.add_argument("--points", type=int, default=1, help="evaluations of a lifetime")
    parser.add_argument("--episodes", type=int, default=128, help="of an evaluation")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's")
    parser.add_argument("--updates", type=int, default=10, help="agent updates of a timed round")
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds of each side")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--verbose", action="store_true", help="print every final return")
    parser.add_argument("--check", action="store_true")
    parser.add_argument(
        "--reference-python", type=Path, help="with jax < 0.10 and Brax (default: .cache/brax-ppo)"
    )
    parser.add_argument(
        "--make-environment", action="store_true", help="make that environment first"
    )
    return parser.parse_args()


PARTS = {"returns": compare_returns, "throughput": compare_throughput}


def main() -> int:
    """Print the tables."""
    args = parse_arguments()
    named, args.reference_python = args.reference_python, args.reference_python or REFERENCE
    if args.make_environment:
        make_environment(args.reference_python)
    if not args.reference_python.is_file():
        print(
            f"Not compared: {args.reference_python} is missing. Brax's trainer needs jax < 0.10, "
            "in an environment that `python tests/benchmarks/brax_ppo.py --make-environment` makes."
        )
        return 2 if named else 0
    ours = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(f"{os.cpu_count()} CPU cores; ours: {_listed(ours)}", flush=True)
    passed = [PARTS[part](task, args) for part in args.parts for task in args.task]
    return int(args.check and not all(passed))


if __name__ == "__main__":
    sys.exit(main())

"""How the cost of training PPO agents grows with the seeds that are trained side by side.

python tests/benchmarks/seeds.py [--task inverted_double_pendulum] [--seeds 1 2 5 10]
"""

import argparse
import time

import jax
import jax.numpy as jnp

from l2o.config.files import build
from l2o.config.parsing import read_yaml
from l2o.config.parts import PPOTraining, ppo_training
from l2o.evaluation.candidates import Candidate, families
from l2o.evaluation.ppo_tasks import ppo_lifetime
from l2o.seeding import key_for


def seconds(task: str, training: PPOTraining, seeds: int, calls: int = 3) -> tuple[float, float]:
    """Return the seconds of one update, and of compiling it, with agents of so many seeds."""
    lifetime, _ = ppo_lifetime(task, training, seeds)
    (family,) = families([Candidate("adam", "adam", 3e-4)])
    values = jax.tree.map(lambda leaf: jnp.repeat(leaf, seeds, axis=0), family.values)
    keys = jnp.stack([key_for(seed, "evaluate", task) for seed in range(seeds)])
    state = lifetime.init(family.program, values, keys, 10)
    durations = []
    for _ in range(calls + 1):
        start = time.perf_counter()
        # Without evaluation episodes: what is timed is training.
        state = lifetime.train(family.program, values, state, 1)
        jax.block_until_ready(state)
        durations.append(time.perf_counter() - start)
    return min(durations[1:]), durations[0]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="inverted_double_pendulum")
    parser.add_argument("--scale", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 5, 10])
    args = parser.parse_args()
    settings = read_yaml("config/config.yaml") | {"scale": args.scale}
    training = ppo_training(build(settings))
    print(f"{args.task}, scale {args.scale}: one PPO update of all seeds, {jax.devices()[0]}")
    print("| seeds | s | relative to one seed |\n| --- | --- | --- |")
    first = None
    for seeds in args.seeds:
        taken, _ = seconds(args.task, training, seeds)
        first = first or taken
        print(f"| {seeds} | {taken:.3f} | {taken / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Measure PPO agents in meta-training: ``python tests/benchmarks/ppo_meta_training.py``.

- What ``tensor_rule`` costs beside Adam: one update of a million parameters, and one iteration of
  PPO at the ``quick`` scale's settings, both in turn.
- Environment steps per second of PPO agents: in a generation of full ES, and in ``evaluate``.
- A generation: so many lifetimes of 40,960 steps on five toy tasks.

``--check`` fails if an update costs more than 3 times Adam's, an iteration of PPO more than 1.1
times, or if a generation is slower than ``evaluate``.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l2o.config import files
from l2o.config.parsing import read_yaml
from l2o.config.parts import ppo_training
from l2o.config.recipe import Recipe
from l2o.evaluation.candidates import Candidate, families
from l2o.evaluation.ppo import PPOLifetime
from l2o.evaluation.ppo_tasks import ppo_lifetime
from l2o.meta.build import build_trainer, starting_point
from l2o.meta.devices import use_devices
from l2o.optimizers.registry import make_optimizer
from l2o.seeding import key_for
from l2o.tasks.ppo_tasks import make_ppo

Tree = Any
ROOT = Path(__file__).parents[2]
AT_MOST = {"update": 3.0, "iteration": 1.1}
TASKS = ("cartpole", "acrobot", "pendulum", "point_robot", "ppo_small_dense_short")
PPO = {
    "environments": 64,
    "batch_size": 32,
    "minibatches": 8,
    "unroll_length": 8,
    "epochs": 4,
    "policy_layers": (32, 32),
    "value_layers": (64, 64),
}
ITERATIONS = 20


def tensor_rule(start: str = "adam") -> tuple[Any, Tree]:
    """Return the optimizer and its untrained meta-parameters."""
    optimizer = make_optimizer("tensor_rule", start=start)
    return optimizer, optimizer.init_meta(jax.random.key(0))


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of calls that take turns, after one that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def update_cost(width: int, updates: int = 20) -> dict[str, float]:
    """Return seconds per update of an agent with two large layers, by optimizer."""
    optimizer, meta = tensor_rule()
    adam = optax.chain(optax.clip(1.0), optax.scale_by_adam(), optax.scale(-1e-3))
    rules = {
        "adam": optax.with_extra_args_support(adam),
        "tensor_rule": optimizer.transform(meta, 1e-3),
    }
    layer = {"kernel": jnp.full((width, width), 0.01), "bias": jnp.zeros(width)}
    params = {"policy": {"hidden_0": layer}, "value": {"hidden_0": layer}}

    def many(tx: optax.GradientTransformationExtraArgs) -> Callable:
        def one(carry: tuple, index: jax.Array) -> tuple:
            params, state = carry
            g = jax.tree.map(lambda p: 0.1 * p + 1e-3 * index, params)
            updates, state = tx.update(g, state, params, progress=0.3, batch_progress=0.5)
            return (optax.apply_updates(params, updates), state), None

        steps = jnp.arange(updates, dtype=jnp.float32)
        return jax.jit(lambda params, state: jax.lax.scan(one, (params, state), steps)[0])

    calls = {}
    for name, tx in rules.items():
        run, state = many(tx), tx.init(params)
        calls[name] = lambda run=run, state=state: run(params, state)
    return {name: seconds / updates for name, seconds in in_turn(calls, 7).items()}


def iteration_cost(task: str, agents: int, rounds: int) -> dict[str, float]:
    """Return seconds per iteration of PPO at scale quick, by optimizer."""
    settings = read_yaml(ROOT / "config" / "config.yaml") | {"scale": "quick"}
    training = ppo_training(files.build(settings, ROOT / "config"))
    lifetime, _ = ppo_lifetime(task, training, agents)
    optimizer, meta = tensor_rule()
    both = [Candidate("adam", "adam", 1e-3), Candidate("tensor_rule", optimizer, 1e-3, meta)]
    calls = {}
    for candidate in both:
        (family,) = families([candidate])
        values = jax.tree.map(lambda x: jnp.repeat(x, agents, axis=0), family.values)
        keys = jnp.stack([key_for(seed, "benchmark", task) for seed in range(agents)])
        state = lifetime.init(family.program, values, keys, 1000)
        calls[candidate.label] = lambda family=family, values=values, state=state: (
            lifetime.train(family.program, values, state, 4).params
        )
    return {name: seconds / 4 for name, seconds in in_turn(calls, rounds).items()}


def recipe_of(tasks: tuple[str, ...], agents: int) -> Recipe:
    """Return full ES of whole lifetimes on toy PPO tasks."""
    return Recipe(
        optimizer={"name": "tensor_rule"},
        tasks=[{"task": task, "learning_rate": 0.01} for task in tasks],
        ppo=PPO,
        estimator="full_es",
        objective="evaluation_return",
        shaping="ranks",
        agents=agents,
        environments=1,
        unroll=ITERATIONS,
        outer_steps=1,
        resets="none",
        reset_interval=1,
        sigma=0.1,
        meta_learning_rate=0.05,
        meta_grad_clip=None,
        log_interval=1,
        checkpoint_interval=1,
        evaluation_episodes=32,
    )


def generation(tasks: tuple[str, ...], agents: int, devices: int, rounds: int) -> tuple[float, int]:
    """Return the median seconds of a generation, and its environment steps."""
    recipe = recipe_of(tasks, agents)
    trainer, start = build_trainer(recipe, devices), starting_point(recipe)
    state = trainer.init(jax.random.key(0), start.settings(), trainer.phase(start))
    step = jax.jit(lambda state: trainer.run(state, jax.random.key(1), 1)[0].meta_params)
    seconds = in_turn({"generation": lambda: step(state)}, rounds)["generation"]
    steps = sum(recipe.env_steps(task) for task in recipe.tasks) * ITERATIONS * agents
    return seconds, steps


def evaluation(task: str, agents: int, rounds: int) -> float:
    """Return environment steps per second of whole lifetimes in ``evaluate``, on one core."""
    recipe = recipe_of((task,), agents)
    settings = recipe.settings(recipe.tasks[0])
    lifetime = PPOLifetime(make_ppo(task, settings), recipe.evaluation_episodes)
    optimizer, meta = tensor_rule()
    (family,) = families([Candidate("tensor_rule", optimizer, 0.01, meta)])
    values = jax.tree.map(lambda x: jnp.repeat(x, agents, axis=0), family.values)
    keys = jnp.stack([key_for(seed, "benchmark", task) for seed in range(agents)])

    def live() -> jax.Array:
        state = lifetime.init(family.program, values, keys, ITERATIONS)
        return lifetime.advance(family.program, values, state, ITERATIONS)[1]["return"]

    seconds = in_turn({"evaluate": live}, rounds)["evaluate"]
    return agents * ITERATIONS * settings.steps_per_update / seconds


def main() -> None:
    """Print the measurements; fail if asked to check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=32, help="of a generation, on each task")
    parser.add_argument("--devices", type=int, default=2, help="that share a generation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=707, help="of two layers: a million in all")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    use_devices(args.devices)
    failed = []
    print(f"{jax.devices()[0]}, {args.devices} devices")

    def compare(name: str, seconds: dict[str, float]) -> None:
        ratio = seconds["tensor_rule"] / seconds["adam"]
        times = ", ".join(f"{label} {1e3 * value:.3f} ms" for label, value in seconds.items())
        print(f"{name}: {times}, ratio {ratio:.2f}", flush=True)
        if ratio > AT_MOST[name.split()[0]]:
            failed.append(name)

    compare("update of a million parameters", update_cost(args.width))
    for task in ("reacher", "cartpole"):
        compare(f"iteration of PPO on {task}", iteration_cost(task, 5, 3 * args.rounds))
    # On one device: evaluate has one process per core.
    alone, steps = generation(("cartpole",), 8, 1, args.rounds)
    rate, theirs = steps / alone, evaluation("cartpole", 8, args.rounds)
    both = f"{rate:.0f} steps/s in meta-training, {theirs:.0f} in evaluate"
    print(f"cartpole, 8 agents, one device: {both}")
    if rate < theirs:
        failed.append("steps per second")
    seconds, steps = generation(TASKS, args.agents, args.devices, args.rounds)
    number = args.agents * len(TASKS)
    print(f"generation of {number} lifetimes: {seconds:.1f} s, {steps / seconds:.0f} steps/s")
    if args.check and failed:
        sys.exit(f"too slow: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""Train with Brax's own PPO, for ``brax_ppo.py``, which starts this in an environment of its own.

One argument, JSON: ``task``, ``backend``, ``networks`` (arguments of ``make_ppo_networks``),
``train`` (arguments of ``ppo.train``), ``seeds``, and ``paced``: whether to wait for a line on
standard input after each line of output, so that somebody else can use the machine meanwhile.

Prints JSON lines: first the versions, then one per evaluation. Imports nothing of ``l2o``.
"""

import contextlib
import functools
import importlib.metadata
import json
import sys
from collections.abc import Callable
from typing import Any

PACKAGES = ("brax", "jax", "flax", "optax", "mujoco")


def train(request: dict[str, Any], seed: int, say: Callable[[dict[str, Any]], None]) -> None:
    """Train one agent; say what each evaluation gave.

    A line has ``seed``, ``env_steps``, ``return``, and the seconds of this point alone, compilation
    included where there was any: ``training_seconds`` (0 before training) and
    ``evaluation_seconds``.
    """
    from brax import envs
    from brax.training.agents.ppo import networks
    from brax.training.agents.ppo import train as ppo

    trained = 0.0

    def progress(env_steps: int, metrics: dict[str, Any]) -> None:
        nonlocal trained
        before, trained = trained, float(metrics.get("training/walltime", 0.0))
        say(
            {
                "seed": seed,
                "env_steps": int(env_steps),
                "return": float(metrics["eval/episode_reward"]),
                "training_seconds": trained - before,
                "evaluation_seconds": float(metrics["eval/epoch_eval_time"]),
            }
        )

    ppo.train(
        environment=envs.get_environment(request["task"], backend=request["backend"]),
        network_factory=functools.partial(networks.make_ppo_networks, **request["networks"]),
        progress_fn=progress,
        seed=seed,
        **request["train"],
    )


def main() -> None:
    """Do what the argument asks for."""
    request, lines = json.loads(sys.argv[1]), sys.stdout

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=lines, flush=True)
        if request["paced"] and not sys.stdin.readline():
            raise SystemExit("whoever started this is gone")

    with contextlib.redirect_stdout(sys.stderr):  # Brax prints which optional packages are missing
        say({"versions": {name: importlib.metadata.version(name) for name in PACKAGES}})
        for seed in request["seeds"]:
            train(request, seed, say)


if __name__ == "__main__":
    main()

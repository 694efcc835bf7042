"""Measure what an outer step costs: ``python tests/benchmarks/meta_training.py``.

The setting is that of the paper's toy agents: small_dense_short with its border, D32 (4,970
parameters), one environment per agent, rollouts of 20 steps, Optim4RL B, K = 4. In the same run the
textbook form of the same outer step is timed: flax ``GRUCell`` on ``[parameters, hidden]``, leaf by
leaf, differentiated as one function and mapped over agents. Then how time grows with agents, K and
parameters, what differentiating a long unroll takes in memory, and what a sweep saves.

``--check`` fails if a required ratio is missed; ``--agents`` and ``--parts`` choose less.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import yaml
from optimizers import TextbookCell

from l2o.agents.a2c import A2C
from l2o.errors import ConfigError
from l2o.meta.devices import use_devices
from l2o.meta.estimators import make_estimator
from l2o.meta.loops.toy import ToyLoop
from l2o.meta.objectives import get_objective
from l2o.meta.outer import MetaTrainer, Start
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.registry import make_optimizer

Tree = Any
TASK, RATE = "small_dense_short", 3e-3
# Median seconds per outer step of the official implementation, by agents (jax 0.4.19, two x86-64
# cores that another process shared). For orientation; ratios are with the textbook form.
OFFICIAL = {64: 1.16, 512: 13.2}
AT_LEAST = {"outer step": 5.0, "sweep": 10.0}  # times cheaper


class Textbook:
    """The outer step without any of this package's meta-training code."""

    def __init__(self, agent: A2C, agents: int, unroll: int) -> None:
        self.agent, self.agents, self.unroll = agent, agents, unroll
        self.adam = optax.chain(optax.clip(1.0), optax.adam(1e-3))

    def init(self, key: jax.Array) -> tuple:
        """Return meta-parameters, the meta-optimizer's state and the population."""
        keys = jax.random.split(key, self.agents)

        def fresh(key: jax.Array) -> tuple:
            params = self.agent.init_params(key)
            hidden = jax.tree.map(lambda leaf: (jnp.zeros((leaf.size, 8)),) * 2, params)
            return params, hidden, self.agent.init_actor(key, 1)

        meta = TextbookCell().init(key, (jnp.zeros((1, 8)),) * 2, jnp.zeros(1))
        return meta, self.adam.init(meta), jax.vmap(fresh)(keys)

    def step(self, state: tuple, key: jax.Array) -> tuple:
        """Take one outer step."""
        meta, opt_state, population = state
        keys = jax.random.split(key, self.agents)

        def mean_loss(meta: Tree) -> tuple:
            losses, after = jax.vmap(functools.partial(self._lifetime, meta))(population, keys)
            return losses.mean(), after

        gradient, population = jax.grad(mean_loss, has_aux=True)(meta)
        updates, opt_state = self.adam.update(gradient, opt_state)
        return optax.apply_updates(meta, updates), opt_state, population

    def _lifetime(self, meta: Tree, agent: tuple, key: jax.Array) -> tuple:
        def inner(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
            params, hidden, actor = carry
            actor, batch = self._act(params, actor, key)
            gradient = jax.grad(lambda tree: self.agent.loss(tree, batch)[0])(params)
            leaves, structure = jax.tree.flatten(jax.lax.stop_gradient(gradient))
            moved = [
                TextbookCell().apply(meta, h, jnp.clip(g.ravel(), -1, 1))
                for h, g in zip(structure.flatten_up_to(hidden), leaves, strict=True)
            ]
            hidden = structure.unflatten([h for h, _ in moved])
            params = jax.tree.map(
                lambda p, u: p - RATE * u.reshape(p.shape),
                params,
                structure.unflatten([u for _, u in moved]),
            )
            return (params, hidden, actor), None

        keys = jax.random.split(key, self.unroll + 1)
        (params, hidden, actor), _ = jax.lax.scan(inner, agent, keys[:-1])
        actor, batch = self._act(params, actor, keys[-1])
        return self.agent.loss(params, batch)[1]["actor"], (params, hidden, actor)

    def _act(self, params: Tree, actor: Any, key: jax.Array) -> tuple:
        return jax.lax.stop_gradient(
            self.agent.rollout(jax.lax.stop_gradient(params), actor, key)[:2]
        )


def trainer(
    agent: A2C, agents: int, unroll: int, devices: int = 1, segment: int | None = None
) -> MetaTrainer:
    """Build the same outer step with this package."""
    loop = ToyLoop(
        make_optimizer("optim4rl_b"),
        TrainingTask(TASK, agent, RATE),
        unroll,
        get_objective("actor", "truncated_gradient"),
        1,
        segment=segment,
    )
    estimator = make_estimator("truncated_gradient", "actor", "none")
    adam = optax.scale_by_adam()
    return MetaTrainer(loop.optimizer, (loop,), estimator, agents, adam, devices=devices)


def paper_agent(torso: str = "D32") -> A2C:
    """Return the paper's agent: it sees the border."""
    # Not above: gymnax starts JAX when it is imported, before the number of devices is set.
    from l2o.tasks.registry import make_a2c

    return make_a2c(TASK, torso, interior=False)


def ours(agent: A2C, agents: int, unroll: int, devices: int) -> tuple[Callable, Any]:
    """Return a compiled outer step and its state."""
    made = trainer(agent, agents, unroll, devices)
    start = Start(1e-3, 1.0)
    state = jax.jit(made.init)(jax.random.key(0), start.settings(), made.phase(start))
    return jax.jit(lambda state, key: made.step(state, key)[0]), state


def textbook(agent: A2C, agents: int, unroll: int) -> tuple[Callable, Any]:
    """Return the compiled textbook step and its state."""
    made = Textbook(agent, agents, unroll)
    return jax.jit(made.step), jax.jit(made.init)(jax.random.key(0))


def seconds(steps: list[tuple[Callable, Any]], repeats: int) -> list[list[float]]:
    """Time outer steps in turn, so that what disturbs one disturbs all; without first calls."""
    states = [state for _, state in steps]
    times: list[list[float]] = [[] for _ in steps]
    for repeat in range(repeats + 1):
        for i, (step, _) in enumerate(steps):
            began = time.perf_counter()
            states[i] = jax.block_until_ready(step(states[i], jax.random.key(repeat)))
            if repeat:
                times[i].append(time.perf_counter() - began)
    return times


def compare(numbers: list[int], repeats: int, devices: int) -> dict[str, float]:
    """Print ours beside the textbook form; return ratios of medians."""
    print(f"Seconds per outer step, K = 4, median (least) of {repeats}; ours on {devices} devices")
    print("| agents | ours | textbook | ratio | official, elsewhere |")
    print("|---|---|---|---|---|")
    ratios = {}
    for agents in numbers:
        pair = [ours(paper_agent(), agents, 4, devices), textbook(paper_agent(), agents, 4)]
        a, b = seconds(pair, repeats)
        ratios[f"outer step, {agents} agents"] = np.median(b) / np.median(a)
        print(
            f"| {agents} | {np.median(a):.3f} ({min(a):.3f}) | {np.median(b):.3f} ({min(b):.3f}) | "
            f"{np.median(b) / np.median(a):.1f} | {OFFICIAL.get(agents, '')} |",
            flush=True,
        )
    return ratios


def growth(repeats: int, devices: int) -> None:
    """Print how time grows with agents x parameters x K."""
    print("\nGrowth: seconds per outer step, and per agent, parameter and inner step")
    print("| agents | parameters | K | s | ns each |\n|---|---|---|---|---|")
    cases = [(16, "D32", 4), (64, "D32", 4), (256, "D32", 4), (64, "D32", 16), (64, "D256", 4)]
    sizes, times = [], []
    for agents, torso, unroll in cases:
        agent = paper_agent(torso)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(agent.shapes))
        (taken,) = seconds([ours(agent, agents, unroll, devices)], repeats)
        sizes.append(agents * parameters * unroll)
        times.append(float(np.median(taken)))
        each = 1e9 * times[-1] / sizes[-1]
        print(f"| {agents} | {parameters} | {unroll} | {times[-1]:.3f} | {each:.1f} |", flush=True)
    slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    print(f"time ~ (agents x parameters x K)^{slope:.2f}")


def memory(unroll: int = 64, agents: int = 64) -> None:
    """Print temporary memory of an outer step with a long unroll."""
    print(f"\nTemporary memory of an outer step, K = {unroll}, {agents} agents")
    key = jax.random.key(0)
    made = Textbook(paper_agent(), agents, unroll)
    state = jax.eval_shape(made.init, key)
    rows = {"textbook": jax.jit(made.step).lower(state, key)}
    for segment in (None, 8):
        made = trainer(paper_agent(), agents, unroll, 1, segment)
        start = Start(1e-3, 1.0)
        state = jax.eval_shape(made.init, key, start.settings(), made.phase(start))
        name = "ours" if segment is None else f"ours, segments of {segment}"
        rows[name] = jax.jit(made.step).lower(state, key)
    for name, lowered in rows.items():
        used = lowered.compile().memory_analysis().temp_size_in_bytes
        print(f"| {name} | {used / 1e9:.2f} GB |", flush=True)


RECIPE = {
    "optimizer": {"name": "optim4rl_b"},
    "tasks": [{"task": TASK, "learning_rate": RATE}],
    "agents": 16,
    "environments": 1,
    "unroll": 4,
    "outer_steps": 20,
    "resets": "staggered",
    "reset_interval": 10,
    "objective": "actor",
    "meta_learning_rate": 0.001,
    "meta_grad_clip": 1.0,
    "log_interval": 10,
    "checkpoint_interval": 20,
}


def sweep(members: int, devices: int) -> dict[str, float]:
    """Print the time of a sweep in one program, and of as many processes."""
    recipes = [RECIPE | {"meta_learning_rate": 1e-4 * (i + 1)} for i in range(members)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(place / "cache")}
        began = time.perf_counter()
        for i, recipe in enumerate(recipes):
            config = place / f"{i}.yaml"
            config.write_text(yaml.safe_dump(recipe))
            command = [sys.executable, "-m", "l2o.cli", "meta-train", "--config", str(config)]
            command += ["--out", str(place / str(i))]
            subprocess.run(command, env=environment, check=True, capture_output=True)
        apart = time.perf_counter() - began
        (place / "recipes.yaml").write_text(yaml.safe_dump(recipes))
        code = (
            "import sys, yaml, pathlib\n"
            "from l2o.meta.devices import use_devices\n"
            f"use_devices({devices})\n"
            "from l2o.meta.train import Member, meta_train\n"
            "from l2o.config.recipe import Recipe\n"
            "place = pathlib.Path(sys.argv[1])\n"
            "recipes = yaml.safe_load((place / 'recipes.yaml').read_text())\n"
            "members = [Member(Recipe(**r), 'sweep', 0, place / f'together_{i}')"
            " for i, r in enumerate(recipes)]\n"
            f"meta_train(members, place / 'state', {{}}, 'code', {devices})\n"
        )
        environment["JAX_COMPILATION_CACHE_DIR"] = str(place / "other_cache")
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code, folder], env=environment, check=True, capture_output=True
        )
        together = time.perf_counter() - began
    print(
        f"\n{members} recipes of {RECIPE['outer_steps']} outer steps: as processes, one after the "
        f"other, sharing a compilation cache, {apart:.1f} s; as one program {together:.1f} s: "
        f"{apart / together:.1f} times cheaper"
    )
    return {"sweep": apart / together}


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--devices", type=int, default=2, help="of a CPU: cores to use")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=["step", "growth", "memory", "sweep"],
        default=["step", "growth", "memory", "sweep"],
    )
    parser.add_argument("--check", action="store_true", help="fail if a required ratio is missed")
    arguments = parser.parse_args()
    try:
        use_devices(arguments.devices)
    except ConfigError:  # an accelerator: those that there are
        arguments.devices = jax.device_count()
    ratios: dict[str, float] = {}
    if "step" in arguments.parts:
        ratios |= compare(arguments.agents, arguments.repeats, arguments.devices)
    if "growth" in arguments.parts:
        growth(arguments.repeats, arguments.devices)
    if "memory" in arguments.parts:
        memory()
    if "sweep" in arguments.parts:
        ratios |= sweep(arguments.members, arguments.devices)
    missed = {name: r for name, r in ratios.items() if r < AT_LEAST[name.split(",")[0]]}
    for name, ratio in missed.items():
        print(f"missed: {name}: {ratio:.1f} of {AT_LEAST[name.split(',')[0]]:g}")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure what an update costs: ``python tests/benchmarks/optimizers.py``.

Per optimizer: nanoseconds and temporary memory per agent parameter, for an agent of a million
parameters. Then Optim4RL B beside its textbook form, flax ``GRUCell`` on ``[parameters, hidden]``:
one update, and the gradient through four. ``--check`` fails if a required ratio is missed.

``--json docs/costs.json``, then ``costs.py --write``, brings the table of the documentation up to
date.
"""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import costs
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import l2o
from l2o.meta.loops.replay import replay_gradient
from l2o.optimizers.classical import classical, list_classical

Tree = Any
Transform = Callable[[Tree], optax.GradientTransformationExtraArgs]
UNROLL = 4
AT_LEAST = {"forward": 3.0, "backward": 2.0}  # times faster than the textbook form
AT_MOST = {"memory": 1.3}  # peak of an update over state and gradients


class TextbookCell(nn.Module):
    """Form B as it is usually written."""

    @nn.compact
    def __call__(self, hidden: tuple, g: jax.Array) -> tuple[tuple, jax.Array]:
        """Return the next hidden state and the step for gradients ``[P]``."""
        h1, _ = nn.GRUCell(8, name="gru1")(hidden[0], g[:, None])
        h2, _ = nn.GRUCell(8, name="gru2")(hidden[1], jnp.square(g)[:, None])
        b, c = nn.Dense(1, name="mlp1")(h1)[:, 0], nn.Dense(1, name="mlp2")(h2)[:, 0]
        return (h1, h2), jnp.sign(g) * jnp.exp(b) * jax.lax.rsqrt(jnp.exp(c) + 1e-8)


class Textbook:
    """Form B for one flat vector of parameters, through :class:`TextbookCell`."""

    def init_meta(self, key: jax.Array) -> Tree:
        """Return meta-parameters."""
        return TextbookCell().init(key, self._zeros(1), jnp.zeros(1))

    def transform(self, meta_params: Tree) -> optax.GradientTransformationExtraArgs:
        """Return the transformation; learning rate 1."""

        def update(g: jax.Array, hidden: tuple, params: Tree = None, **extra: Any) -> tuple:
            hidden, step = TextbookCell().apply(meta_params, hidden, jnp.clip(g, -1, 1))
            return -step, hidden

        return optax.GradientTransformationExtraArgs(lambda g: self._zeros(g.size), update)

    def _zeros(self, size: int) -> tuple:
        return jnp.zeros((size, 8)), jnp.zeros((size, 8))


class Classical:
    """A classical optimizer in the same form."""

    def __init__(self, name: str) -> None:
        self.name = name

    def init_meta(self, key: jax.Array) -> Tree:
        """Return no meta-parameters."""
        return ()

    def transform(self, meta_params: Tree) -> optax.GradientTransformationExtraArgs:
        """Return the transformation."""
        return classical(self.name, 1e-3)


def make(name: str) -> Any:
    """Return the optimizer of that name, classical or learned."""
    return Classical(name) if name in list_classical() else l2o.make_optimizer(name)


def random_like(shapes: Tree, seed: int, scale: float = 0.1) -> Tree:
    """Return a tree of normal numbers."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape, np.float32)), shapes
    )


def random_meta(optimizer: Any) -> Tree:
    """Return meta-parameters; drawn here, as the initialisers take seconds to compile."""
    return random_like(jax.eval_shape(optimizer.init_meta, jax.random.key(0)), 0)


def size_of(tree: Tree) -> int:
    """Return the bytes of all leaves."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


class Update:
    """One compiled update with donated gradients and state, and the values to run it on."""

    def __init__(self, optimizer: Any, shapes: Tree) -> None:
        meta, params = random_meta(optimizer), random_like(shapes, 1)
        self.gradients = random_like(shapes, 2)
        self.state = jax.jit(lambda m, p: optimizer.transform(m).init(p))(meta, params)
        self.constants = (meta, params, jax.random.key(0))

        def update(gradients: Tree, state: Tree, meta: Tree, params: Tree, key: Tree) -> tuple:
            extra = {"value": 0.5, "progress": 0.25, "batch_progress": 0.5, "key": key}
            return optimizer.transform(meta).update(gradients, state, params, **extra)

        lowered = jax.jit(update, donate_argnums=(0, 1)).lower(
            self.gradients, self.state, *self.constants
        )
        self.compiled = lowered.compile()

    def seconds(self) -> float:
        """Run once; the state goes on from run to run."""
        gradients = jax.block_until_ready(jax.tree.map(jnp.copy, self.gradients))
        start = time.perf_counter()
        updates, self.state = self.compiled(gradients, self.state, *self.constants)
        jax.block_until_ready((updates, self.state))
        return time.perf_counter() - start

    @property
    def temporary(self) -> int:
        """Bytes that the program allocates for itself."""
        return self.compiled.memory_analysis().temp_size_in_bytes

    @property
    def peak_ratio(self) -> float:
        """Bytes alive at once over those of state and gradients."""
        memory = self.compiled.memory_analysis()
        needed = size_of(self.state) + size_of(self.gradients)
        new = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return (needed + new + memory.temp_size_in_bytes) / needed


def best(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each; they take turns, so that all see the same machine."""
    times = [{name: run() for name, run in runs.items()} for _ in range(repeats)]
    return {name: min(time[name] for time in times) for name in runs}


def timed(function: Callable, *args: Any) -> Callable[[], float]:
    """Compile a function; return what runs it once and gives the seconds."""
    compiled = jax.jit(function).lower(*args).compile()

    def run() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        return time.perf_counter() - start

    return run


def backward(optimizer: Any, size: int) -> Callable[[], float]:
    """Time reverse-mode differentiation through updates of a flat vector."""
    *gradients, cotangent = random_like([jnp.zeros(size)] * (UNROLL + 1), 1)

    def total(meta: Tree, gradients: list[jax.Array], cotangent: jax.Array) -> jax.Array:
        tx = optimizer.transform(meta)
        state, moved = tx.init(cotangent), jnp.zeros_like(cotangent)
        for gradient in gradients:
            updates, state = tx.update(gradient, state, moved)
            moved = moved + updates
        return jnp.vdot(moved, cotangent)

    return timed(jax.grad(total), random_meta(optimizer), gradients, cotangent)


def recorded(optimizer: Any, size: int) -> Callable[[], float]:
    """Time the same derivative as meta-training computes it, its recording included."""
    gradients, cotangent = random_like((jnp.zeros((UNROLL, size)), jnp.zeros(size)), 1)

    def update(meta: Tree, carry: tuple, gradient: jax.Array) -> tuple:
        updates, state = optimizer.transform(meta).update(gradient, *carry)
        return state, carry[1] + updates

    def gradient(meta: Tree, gradients: jax.Array, cotangent: jax.Array) -> Tree:
        params = jnp.zeros_like(cotangent)
        start = (optimizer.transform(meta).init(params), params)
        return replay_gradient(update, meta, start, gradients, cotangent, UNROLL)

    return timed(gradient, random_meta(optimizer), gradients, cotangent)


def table(names: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Measure the optimizers; print and return one row each."""
    shapes = costs.agent()
    parameters = costs.floats(shapes)
    print(f"{parameters:,} parameters in {len(jax.tree.leaves(shapes))} leaves, float32")
    print(f"{'':14}{'ns':>8}{'x adam':>8}{'temporary':>11}{'state':>8}{'meta-':>11}{'peak /':>9}")
    print(f"{'per parameter':14}{'':16}{'bytes':>11}{'floats':>8}{'parameters':>11}{'needed':>9}")
    rows = {}
    for name in names:
        update = Update(make(name), shapes)
        update.seconds()
        nanoseconds = 1e9 * min(update.seconds() for _ in range(repeats)) / parameters
        rows[name] = {
            "nanoseconds": nanoseconds,
            "times_adam": nanoseconds / rows["adam"]["nanoseconds"] if rows else 1.0,
            "temporary_bytes": update.temporary / parameters,
            "state_floats": costs.state_floats(name),
            "meta_parameters": costs.meta_parameters(name),
            "peak_over_needed": update.peak_ratio,
        }
        ns, times, temporary, state, meta, peak = rows[name].values()
        cells = f"{ns:8.2f}{times:8.1f}{temporary:11.1f}{state:8.3g}{meta:11,}{peak:9.2f}"
        print(f"{name:14}{cells}", flush=True)
    return rows


def ratios(backward_size: int, repeats: int) -> dict[str, float]:
    """Measure Optim4RL B and its textbook form in turns; print and return the ratios."""
    ours, textbook, shapes = l2o.make_optimizer("optim4rl_b"), Textbook(), costs.agent()
    parameters = costs.floats(shapes)
    update = Update(ours, shapes)
    flat = Update(textbook, jax.ShapeDtypeStruct((parameters,), jnp.float32))
    forward = best({"ours": update.seconds, "textbook": flat.seconds}, repeats)
    runs = {
        "ours": backward(ours, backward_size),
        "textbook": backward(textbook, backward_size),
        "replayed": recorded(ours, backward_size),
    }
    through = best(runs, repeats)

    print(f"\n{'optim4rl_b, ns':24}{'ours':>10}{'replayed':>10}{'textbook':>10}")
    ns = {name: 1e9 * seconds / parameters for name, seconds in forward.items()}
    print(f"{'update':24}{ns['ours']:10.1f}{'':10}{ns['textbook']:10.1f}")
    ns = {name: 1e9 * seconds / backward_size / UNROLL for name, seconds in through.items()}
    text = f"{ns['ours']:10.1f}{ns['replayed']:10.1f}{ns['textbook']:10.1f}"
    print(f"{f'step of gradient by {UNROLL}':24}{text}")
    return {
        "forward": forward["textbook"] / forward["ours"],
        "backward": through["textbook"] / through["ours"],
        "memory": update.peak_ratio,
    }


def met(found: dict[str, float]) -> bool:
    """Print the ratios beside what is required; tell whether all are met."""
    print(f"\n{'ratio':12}{'found':>8}{'required':>12}")
    for name, ratio in found.items():
        sign, bound = (">=", AT_LEAST[name]) if name in AT_LEAST else ("<=", AT_MOST[name])
        print(f"{name:12}{ratio:8.2f}{f'{sign} {bound}':>12}")
    fast = all(found[name] >= bound for name, bound in AT_LEAST.items())
    return fast and all(found[name] <= bound for name, bound in AT_MOST.items())


def machine() -> str:
    """Name what the numbers were measured on, and when."""
    device, today = jax.devices()[0], datetime.date.today().isoformat()
    if device.platform != "cpu":
        return f"{device.device_kind}, jax {jax.__version__}, {today}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    usable = len(os.sched_getaffinity(0)) if names else os.cpu_count()
    return f"{(names or ['CPU'])[0]}, {usable} cores, jax {jax.__version__}, {today}"


def main() -> int:
    """Print the tables; with ``--check``, fail if a required ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("optimizers", nargs="*", help="which to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--backward-parameters", type=int, default=2**18)
    parser.add_argument("--check", action="store_true", help="measure the required ratios only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    args = parser.parse_args()

    print(machine())
    others = args.optimizers or [*list_classical(), *l2o.list_optimizers()]
    names = ["adam", *(name for name in others if name != "adam")]
    rows = {} if args.check else table(names, args.repeats)
    found = ratios(args.backward_parameters, args.repeats)
    passed = met(found)
    if args.json:
        result = {"machine": machine(), "optimizers": rows, "ratios": found}
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return int(args.check and not passed)


if __name__ == "__main__":
    sys.exit(main())

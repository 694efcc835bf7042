"""Measure how near an update comes to the memory's limit: ``python tests/benchmarks/bandwidth.py``.

Per optimizer, for one flat vector of parameters (float32): how many kernels its compiled update
launches, and the bytes that it has to move, per second, as a share of what a copy moves. On an
accelerator ``--check`` fails if Optim4RL B launches more than 3 kernels or stays below 60%.
"""

import argparse
import re
import sys
import time

import costs
import jax
import jax.numpy as jnp
from optimizers import Update, machine, make

AT_MOST_KERNELS, AT_LEAST_SHARE = 3, 0.6
# What stands in a compiled program without doing anything.
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}
_OPCODE = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = .*?[\])}] ([a-z][\w-]*)\(", re.MULTILINE)


def kernels(compiled: jax.stages.Compiled) -> int:
    """Count what the entry computation of a program launches, a loop as one."""
    entry = re.search(r"^ENTRY .*?^}", compiled.as_text(), re.MULTILINE | re.DOTALL)
    opcodes = _OPCODE.findall(entry.group())
    return sum(not opcode.endswith("-done") and opcode not in _FREE for opcode in opcodes)


def copy_rate(size: int, repeats: int) -> float:
    """Return the bytes per second that a copy of ``size`` floats reads and writes."""
    copy = jax.jit(jnp.copy)
    x = jax.block_until_ready(copy(jnp.zeros(size)))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(copy(x))
        times.append(time.perf_counter() - start)
    return 2 * x.nbytes / min(times)


def main() -> int:
    """Print the table."""
    accelerated = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("optimizers", nargs="*", help="which to measure")
    parser.add_argument("--parameters", type=int, default=10_000_000 if accelerated else 2**20)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    # Those of whole tensors need a tree, and take long to compile.
    names = args.optimizers or ["adam", "optim4rl_a", "optim4rl_b", "optim4rl_m", "linear"]

    limit = copy_rate(8 * args.parameters, args.repeats)
    print(f"{machine()}; {args.parameters:,} parameters; a copy moves {limit / 1e9:.1f} GB/s")
    print("| name | kernels | bytes | ns | GB/s | share of a copy |\n|---|---|---|---|---|---|")
    passed = True
    for name in names:
        update = Update(make(name), jax.ShapeDtypeStruct((args.parameters,), jnp.float32))
        update.seconds()
        seconds = min(update.seconds() for _ in range(args.repeats))
        moved = 8 * (costs.state_floats(name) + 1)
        rate = moved * args.parameters / seconds
        launched = kernels(update.compiled)
        ns = 1e9 * seconds / args.parameters
        cells = f"{launched} | {moved:.0f} | {ns:.3f} | {rate / 1e9:.1f} | {rate / limit:.0%}"
        print(f"| {name} | {cells} |", flush=True)
        if name == "optim4rl_b":
            passed = launched <= AT_MOST_KERNELS and rate >= AT_LEAST_SHARE * limit
    if not accelerated:
        print("The bounds are for accelerators and are not checked here.")
    return int(args.check and accelerated and not passed)


if __name__ == "__main__":
    sys.exit(main())

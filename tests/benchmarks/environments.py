"""Measure the throughput of the toy environments: ``python tests/benchmarks/environments.py``."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import gymnax
import jax
import jax.numpy as jnp

from l2o.environments import gridworlds

CHECKED_TASK = "small_dense_short"
CHECKED_ENVS = 512
REQUIRED_RATE = 2e6


def random_rollout(name: str, num_envs: int, num_steps: int) -> Callable[[jax.Array], jax.Array]:
    """Build a compiled rollout of a uniform random policy.

    The observations are carried from step to step, so that they are really computed.

    Returns:
        A function of a key that gives the last observations, and the sum of the rewards and the
        number of finished episodes of each environment.
    """
    env, params = gymnax.make(name)

    def step(carry, key):
        _, state, rewards, episodes = carry
        key_action, key_step = jax.random.split(key)
        uniform = jax.random.uniform(key_action, (num_envs,))
        actions = (uniform * env.num_actions).astype(jnp.int32)
        obs, state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key_step, num_envs), state, actions, params
        )
        return (obs, state, rewards + reward, episodes + (terminated | truncated)), None

    @jax.jit
    def rollout(key):
        key_reset, key_steps = jax.random.split(key)
        obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(key_reset, num_envs), params)
        carry = obs, state, jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32)
        (obs, _, rewards, episodes), _ = jax.lax.scan(
            step, carry, jax.random.split(key_steps, num_steps)
        )
        return obs, rewards, episodes

    return rollout


def step_rates(name: str, num_envs: int, num_steps: int, repeats: int) -> list[float]:
    """Measure environment steps per second, once per repeat, after compilation."""
    rollout = random_rollout(name, num_envs, num_steps)
    jax.block_until_ready(rollout(jax.random.key(0)))
    rates = []
    for repeat in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(rollout(jax.random.key(repeat)))
        rates.append(num_envs * num_steps / (time.perf_counter() - start))
    return rates


def main() -> int:
    """Print a table of rates; with ``--check``, fail if the required rate is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help="tasks to measure (default: all)")
    parser.add_argument("--envs", type=int, default=CHECKED_ENVS, help="parallel environments")
    parser.add_argument("--steps", type=int, default=2000, help="steps per repeat")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--check",
        action="store_true",
        help=f"measure {CHECKED_TASK} with {CHECKED_ENVS} environments only, and fail if the best "
        f"repeat is under {REQUIRED_RATE / 1e6:g} million steps per second",
    )
    args = parser.parse_args()
    if args.check:
        args.tasks, args.envs = [CHECKED_TASK], CHECKED_ENVS

    print(f"{'':<20}{'':>14}{'million steps per second':>28}")
    print(f"{'task':<20}{'environments':>14}{'best':>14}{'median':>14}")
    best = 0.0
    for name in args.tasks or [*gridworlds.SPECS, "Catch-bsuite"]:
        rates = step_rates(name, args.envs, args.steps, args.repeats)
        best, median = max(rates), statistics.median(rates)
        print(f"{name:<20}{args.envs:>14}{best / 1e6:>14.2f}{median / 1e6:>14.2f}", flush=True)
    return int(args.check and best < REQUIRED_RATE)


if __name__ == "__main__":
    sys.exit(main())

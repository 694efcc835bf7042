"""Populations of agents, and pipeline training: when each agent starts a new lifetime."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.agents.a2c import A2C, ActorState
from l2o.agents.vectorize import ravel

Tree = Any
RESETS = ("staggered", "synchronous", "none")


class Agents(NamedTuple):
    """A population of ``N`` agents on one task; every leaf has the leading axis ``N``."""

    params: jax.Array  # [N, P] float32, flat
    opt_state: Tree
    actor: ActorState
    age: jax.Array  # [N] int32, inner steps since the reset


def fresh_agents(
    agent: A2C, tx: optax.GradientTransformation, key: jax.Array, number: int, environments: int
) -> Agents:
    """Return agents at the start of their lifetimes.

    Args:
        agent: The agent's algorithm and environment.
        tx: The optimizer; only its ``init`` is used.
        key: Random key.
        number: Agents, ``N``.
        environments: Environments of each agent.
    """
    key_params, key_actor = jax.random.split(key)
    params = jax.vmap(lambda k: ravel(agent.init_params(k)))(jax.random.split(key_params, number))
    actor_keys = jax.random.split(key_actor, number)
    actor = jax.vmap(lambda k: agent.init_actor(k, environments))(actor_keys)
    age = jnp.zeros(number, jnp.int32)
    return Agents(params, jax.vmap(tx.init)(params), actor, age)


def reset_index(scheme: str, number: int, interval: int) -> jax.Array:
    """Return at which phase of the reset interval each agent starts a new lifetime.

    The schedule is data, so that recipes that differ in it alone share a compiled program.

    Args:
        scheme: ``"staggered"`` (pipeline training: spread evenly over ``[0, interval)``),
            ``"synchronous"`` (all at 0) or ``"none"`` (-1: never).
        number: Agents, ``N``.
        interval: Outer steps of one lifetime.

    Returns:
        int32 ``[N]``.
    """
    if scheme == "staggered":
        return jnp.arange(number) * interval // number
    return jnp.full(number, {"synchronous": 0, "none": -1}[scheme])


def due(index: jax.Array, step: jax.Array, interval: jax.Array) -> jax.Array:
    """Return which agents start a new lifetime at an outer step.

    Args:
        index: From :func:`reset_index`.
        step: Outer step, int32 scalar.
        interval: Outer steps of one lifetime.

    Returns:
        bool ``[N]``; never at step 0, where all agents are new.
    """
    return (step % interval == index) & (step > 0)


def reset(agents: Agents, where: jax.Array, make: Callable[[], Agents]) -> Agents:
    """Replace some agents by new ones.

    Args:
        agents: The population.
        where: Which, bool ``[N]``.
        make: Function that returns a new population; evaluated only if some agent is replaced.
    """

    def replace() -> Agents:
        def pick(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(where.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

        return jax.tree.map(pick, make(), agents)

    return jax.lax.cond(where.any(), replace, lambda: agents)

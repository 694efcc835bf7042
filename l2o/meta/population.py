"""Populations of agents, and pipeline training: when each agent starts a new lifetime."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.meta.tasks import TrainingTask

Tree = Any
_NEVER = 2.0**24  # outer steps; exact in float32


class Traits(NamedTuple):
    """What tells an agent's problem from others of its task, drawn when its lifetime starts."""

    lifetime: jax.Array  # [N] float32, outer steps after which it ends, whatever the schedule says
    reward_scale: jax.Array  # [N] float32
    tensor_scale: jax.Array | None  # [N, tensors] float32: true parameters / those optimized
    learning_rate: jax.Array | None  # [N] float32, multiplies the inner learning rate


class Agents(NamedTuple):
    """A population of ``N`` agents on one task; every leaf has the leading axis ``N``."""

    params: jax.Array  # [N, P] float32, flat, as the optimizer sees them
    opt_state: Tree
    actor: Tree  # environments, and what else acts
    age: jax.Array  # [N] int32, inner steps since the reset
    phase: jax.Array  # [N] int32, when in the reset interval it is reset; -1: never
    traits: Traits


class Schedule(NamedTuple):
    """When agents start new lifetimes; data, so that recipes share a compiled program."""

    interval: jax.Array  # [] int32, outer steps of a scheduled lifetime
    shortest: jax.Array  # [] float32, outer steps; lifetimes that end by themselves are
    longest: jax.Array  # [] float32, log-uniform between these


def make_schedule(scheme: str, interval: int) -> Schedule:
    """Build the schedule of a population; :func:`phases` is the other half of it.

    Args:
        scheme: ``"staggered"`` (pipeline training), ``"synchronous"`` (all agents at once),
            ``"random"`` (each lifetime is drawn, log-uniformly between a sixteenth of the interval
            and all of it) or ``"none"``.
        interval: Outer steps of one lifetime.
    """
    drawn = scheme == "random"
    bounds = (max(1, interval // 16), interval) if drawn else (_NEVER, _NEVER)
    return Schedule(jnp.int32(interval), *map(jnp.float32, bounds))


def phases(scheme: str, number: int, interval: int) -> jax.Array:
    """Return when in the reset interval each agent is reset.

    Returns:
        int32 ``[N]``: spread evenly over ``[0, interval)`` if staggered, 0 if synchronous, else -1
        (never).
    """
    if scheme == "staggered":
        return jnp.arange(number) * interval // number
    return jnp.full(number, 0 if scheme == "synchronous" else -1)


def new_agents(
    task: TrainingTask,
    tx: optax.GradientTransformation,
    begun: tuple[jax.Array, Tree],
    phase: jax.Array,
    traits: Traits,
) -> Agents:
    """Return agents at the start of their lifetimes.

    Args:
        task: What they learn.
        tx: The optimizer; only its ``init`` is used.
        begun: Flat parameters ``[N, P]``, and what acts.
        phase: From :func:`phases`.
        traits: From :func:`draw_traits`.
    """
    params, actor = begun
    if traits.tensor_scale is not None:
        params = params / jax.vmap(lambda c: spread_scale(task, c))(traits.tensor_scale)
    age = jnp.zeros(len(params), jnp.int32)
    return Agents(params, jax.vmap(tx.init)(params), actor, age, phase, traits)


def parameters(task: TrainingTask, params: jax.Array, traits: Traits) -> Tree:
    """Return one agent's parameter tree from the vector ``[P]`` that its optimizer sees."""
    return true_tree(task.agent.unravel(params), traits)


def true_tree(tree: Tree, traits: Traits) -> Tree:
    """Undo the reparametrisation of one agent's tree."""
    if traits.tensor_scale is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    scaled = [leaf * traits.tensor_scale[i] for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, scaled)


def spread_scale(task: TrainingTask, scale: jax.Array) -> jax.Array:
    """Repeat each tensor's factor for all its parameters, ``[P]``."""
    leaves = jax.tree.leaves(task.agent.shapes)
    return jnp.concatenate([jnp.full(leaf.size, scale[i]) for i, leaf in enumerate(leaves)])


def draw_traits(task: TrainingTask, key: jax.Array, schedule: Schedule) -> Traits:
    """Draw the traits of one agent."""
    tensors = len(jax.tree.leaves(task.agent.shapes))
    u = jax.random.uniform(key, (2 + tensors,))
    low, high = jnp.log(schedule.shortest), jnp.log(schedule.longest)
    own = jax.random.uniform(jax.random.fold_in(key, 1))
    return Traits(
        jnp.floor(task.lifetime * jnp.exp(low + u[0] * (high - low)) + 1e-3),
        task.reward_scale * task.reward_range ** (2 * u[1] - 1),
        task.parameter_range ** (2 * u[2:] - 1) if task.parameter_range != 1 else None,
        task.rate_range ** (2 * own - 1) if task.rate_range != 1 else None,
    )


def lifetime(task: TrainingTask, schedule: Schedule) -> jax.Array:
    """Return the outer steps of a scheduled lifetime of a task, int32 scalar, at least 1."""
    if task.lifetime == 1:
        return schedule.interval
    own = jnp.round(task.lifetime * schedule.interval).astype(jnp.int32)
    return jnp.maximum(own, 1)


def sound(agents: Agents) -> jax.Array:
    """Return which agents have not diverged, bool ``[N]``."""
    return jnp.isfinite(agents.params).all(axis=1)


def due(agents: Agents, interval: jax.Array, step: jax.Array, unroll: int) -> jax.Array:
    """Return which agents start a new lifetime at an outer step.

    Args:
        agents: The population.
        interval: Outer steps of a lifetime, see :func:`lifetime`.
        step: Outer step, int32 scalar.
        unroll: Inner steps of an outer step.

    Returns:
        bool ``[N]``; never at step 0, where all agents are new.
    """
    scheduled = (agents.phase >= 0) & (step % interval == agents.phase % interval) & (step > 0)
    return scheduled | (agents.age >= agents.traits.lifetime * unroll)


def replace(old: Tree, where: jax.Array, make: Callable[[], Tree]) -> Tree:
    """Replace some entries of the leading axis of a tree by new ones.

    Args:
        old: Arrays ``[N, ...]``.
        where: Which, bool ``[N]``.
        make: Function that returns a tree like ``old``; evaluated only if something is replaced.
    """

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(where.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    return jax.lax.cond(where.any(), lambda: jax.tree.map(pick, make(), old), lambda: old)

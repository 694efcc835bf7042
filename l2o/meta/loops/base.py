"""The inner loop: agents of one task that train with a learned optimizer, K steps at a time."""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.agents.vectorize import on_tree, over_agents
from l2o.meta.loops.replay import recorded_gradient, replay_gradient
from l2o.meta.objectives import Objective
from l2o.meta.population import Agents, Schedule, Traits, due, lifetime, replace, sound
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.base import LearnedOptimizer

Tree = Any


class Shared(NamedTuple):
    """What all agents have in common in one outer step."""

    meta_params: Tree
    learning_rate_scale: jax.Array  # [] float32, multiplies every inner learning rate
    schedule: Schedule
    step: jax.Array  # [] int32


class Outcome(NamedTuple):
    """What an outer step measured of ``N`` agents."""

    loss: jax.Array  # [N] float32, what is minimised; NaN of agents that diverged, or infinite
    statistics: dict[str, jax.Array]  # [N] float32 each
    gradient: Tree = None  # of the loss, leaves [N, ...]
    weight: jax.Array | None = None  # [N] float32, of the loss in a mean over outer steps


class Recorded(NamedTuple):
    """What an update of an agent was given, enough to replay it."""

    gradient: jax.Array  # [P] float32
    value: jax.Array  # [] float32, agent loss
    progress: jax.Array  # [] float32, share of the lifetime that is over
    given: dict[str, Tree]  # what else the optimizer reads, see ``LearnedOptimizer.reads``


@dataclasses.dataclass(frozen=True)
class InnerLoop(abc.ABC):
    """Trains a population on one task.

    Methods work on any number of agents, so that devices can share a population. Keys are
    ``[N, keys]``; the first one of each agent is for a reset.

    Attributes:
        optimizer: The learned optimizer.
        task: What is learned.
        unroll: Inner steps per outer step, ``K``.
        objective: What is measured.
        segment: Updates, a divisor of those of an outer step, whose optimizer states are in memory
            at a time when differentiating, computed once more; ``None`` keeps those of all.
    """

    optimizer: LearnedOptimizer
    task: TrainingTask
    unroll: int
    objective: Objective
    segment: int | None = dataclasses.field(default=None, kw_only=True)

    @property
    @abc.abstractmethod
    def keys(self) -> int:
        """Random keys that one agent needs for an outer step."""

    @abc.abstractmethod
    def fresh(self, shared: Shared, keys: jax.Array, phase: jax.Array) -> Agents:
        """Return new agents, one per key ``[N]``."""

    @abc.abstractmethod
    def measure(
        self, shared: Shared, meta_params: Tree, agents: Agents, keys: jax.Array
    ) -> tuple[Agents, Outcome]:
        """Train for K steps, each agent with its own meta-parameters ``[N, ...]``.

        Returns:
            The agents, and an outcome without meta-gradients; its loss is still to be assessed.
        """

    @abc.abstractmethod
    def differentiate(
        self, shared: Shared, agents: Agents, keys: jax.Array
    ) -> tuple[Agents, Outcome]:
        """Train for K steps; return the agents, and an outcome with meta-gradients."""

    def assess(self, agents: Agents, loss: jax.Array) -> jax.Array:
        """Return the loss ``[N]`` of trained agents, given the one that was measured meanwhile."""
        del agents
        return loss

    def lifetime(self, schedule: Schedule) -> jax.Array:
        """Return the outer steps of a scheduled lifetime, int32 scalar."""
        return lifetime(self.task, schedule)

    def ended(self, shared: Shared, agents: Agents) -> tuple[jax.Array, jax.Array]:
        """Return whose lifetime is over, and which of them diverged, bool ``[N]``."""
        broken = ~sound(agents)
        interval = self.lifetime(shared.schedule)
        return due(agents, interval, shared.step, self.unroll) | broken, broken

    def renew(self, shared: Shared, agents: Agents, where: jax.Array, keys: jax.Array) -> Agents:
        """Replace some agents, bool ``[N]``, by new ones."""
        make = functools.partial(self.fresh, shared, keys[:, 0], agents.phase)
        return replace(agents, where, make)

    def _statistics(self, agents: Agents, measured: Any) -> dict[str, jax.Array]:
        """Return what is logged, ``[N]`` each, of what was measured of K inner steps, ``[K, N]``.

        That is the ``total`` return of the ``episodes`` that finished, and the agent loss,
        ``value``.
        """
        return {
            "total": measured.total.sum(0),
            "episodes": measured.episodes.sum(0),
            "age": agents.age.astype(jnp.float32),
            "agent_loss": measured.value.mean(0),
        }

    def _progress(self, shared: Shared, agents: Agents) -> jax.Array:
        """Return the share of each lifetime that is over, ``[N]``."""
        span = jnp.full_like(agents.age, self.lifetime(shared.schedule) * self.unroll)
        # Else XLA multiplies by the inverse of what is the same for all: not what evaluation does.
        return jnp.minimum(agents.age / jax.lax.optimization_barrier(span), 1.0)

    def _update(
        self, shared: Shared, meta_params: Tree, traits: Traits, state: tuple, step: Recorded
    ) -> tuple:
        """Let the optimizer take one step: ``(opt_state, params)`` before and after."""
        opt_state, params = state
        tx = self._transform(meta_params, shared, traits)
        told = {"value": step.value, "progress": step.progress, **step.given}
        updates, opt_state = tx.update(step.gradient, opt_state, params, **told)
        return opt_state, optax.apply_updates(params, updates)

    def _transform(
        self, meta_params: Tree, shared: Shared, traits: Traits | None = None
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer of one agent; for its ``init`` alone no traits are needed."""
        rate = self.task.learning_rate * shared.learning_rate_scale
        if traits is not None and traits.learning_rate is not None:
            rate = rate * traits.learning_rate
        tx = self.optimizer.transform(meta_params, learning_rate=rate)
        return tx if self.optimizer.coordinate_wise else on_tree(tx, self.task.agent.unravel)

    def _meta_gradients(
        self,
        shared: Shared,
        start: tuple,
        end: Agents,
        recorded: Recorded,
        along: jax.Array | None,
        value: Callable,
        batch: Tree,
    ) -> tuple[jax.Array, Tree]:
        """Return the objective after an unroll ``[N]``, and its meta-gradients ``[N, ...]``.

        Args:
            shared: What the agents have in common.
            start: ``(opt_state, params)`` before each update, leaves ``[K, N, ...]``, or, to save
                memory, before the unroll, ``[N, ...]``.
            end: The agents after it, as far as ``value`` looks at them.
            recorded: What each update was given, ``[K, N, ...]``, with a further axis after these
                if an inner step is several updates.
            along: Gradient of the objective's term with respect to the parameters before each
                inner step, ``[K, N, P]``, if the objective is its mean over the unroll.
            value: Function of an agent's parameters ``[P]``, the agent and its batch.
            batch: What the objective is measured on at the end, leaves ``[N, ...]``.
        """
        keep = self.segment is None

        def one(start: tuple, end: Agents, batch: Tree, recorded: Recorded, along: Any) -> tuple:
            def update(meta_params: Tree, state: tuple, step: Recorded) -> tuple:
                return self._update(shared, meta_params, end.traits, state, step)

            if recorded.value.ndim == 2:
                recorded = _in_line(recorded)
                start = _in_line(start) if keep else start
            loss, last = jax.value_and_grad(value)(end.params, end, batch)
            cotangents = last
            if along is not None:
                cotangents = self._spread(along, last, recorded.value.size)
            packed = (update, shared.meta_params, start, recorded, cotangents)
            if keep:
                return loss, recorded_gradient(*packed)
            return loss, replay_gradient(*packed, self.segment)

        # What was recorded has the agents on its second axis, after the steps.
        mapped = over_agents(one, (int(keep), 0, 0, 1, 1), ahead=not keep)
        return mapped(start, end, batch, recorded, along)

    def _spread(self, along: jax.Array, last: jax.Array, updates: int) -> jax.Array:
        """Return the cotangents after each update ``[updates, P]``, nonzero after inner steps."""
        ends = jnp.concatenate([along[1:], last[None]]) / self.unroll
        each = updates // self.unroll
        if each == 1:
            return ends
        return jnp.zeros((updates, last.size)).at[each - 1 :: each].set(ends)


def _in_line(tree: Tree) -> Tree:
    """Give leaves ``[K, U, ...]`` the shape ``[K U, ...]``."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)

"""The inner loop: agents of one task that train with a learned optimizer, K steps at a time."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.agents.a2c import Batch
from l2o.agents.vectorize import on_tree, over_agents, ravel
from l2o.meta.objectives import Objective
from l2o.meta.population import (
    Agents,
    Schedule,
    Traits,
    due,
    fresh_agents,
    parameters,
    replace,
    true_tree,
)
from l2o.meta.replay import recorded_gradient, replay_gradient
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.base import LearnedOptimizer
from l2o.seeding import noise_key

Tree = Any


class Shared(NamedTuple):
    """What all agents have in common in one outer step."""

    meta_params: Tree
    learning_rate_scale: jax.Array  # [] float32, multiplies every inner learning rate
    schedule: Schedule
    step: jax.Array  # [] int32


class Outcome(NamedTuple):
    """What an outer step measured of ``N`` agents."""

    loss: jax.Array  # [N] float32, what is minimised
    statistics: dict[str, jax.Array]  # [N] float32 each
    gradient: Tree = None  # of the loss, leaves [N, ...]


class Recorded(NamedTuple):
    """One inner step of an agent, enough to replay its update."""

    gradient: jax.Array  # [P] float32
    value: jax.Array  # [] float32, agent loss
    progress: jax.Array  # [] float32, share of the lifetime that is over
    given: dict[str, Tree]  # what else the optimizer reads, see ``LearnedOptimizer.reads``


class Measured(NamedTuple):
    """One inner step of an agent, for objectives and statistics."""

    cotangent: jax.Array | None  # [P], gradient of the objective's term if it is over the unroll
    value: jax.Array  # [] float32, agent loss
    reward: jax.Array  # [] float32, sum over the rollout, mean over environments
    total: jax.Array  # [] float32, sum of the returns of the episodes that finished
    episodes: jax.Array  # [] float32, how many


@dataclasses.dataclass(frozen=True)
class InnerLoop:
    """Trains a population on one task.

    Methods work on any number of agents, so that devices can share a population. Keys are
    ``[N, unroll + 2]``: for a reset, for each inner step, and for the rollout after the last one.

    Attributes:
        optimizer: The learned optimizer.
        task: What is learned.
        environments: Environments per agent.
        unroll: Inner steps per outer step, ``K``.
        objective: What is measured.
        segment: Inner steps, a divisor of ``unroll``, whose optimizer states are in memory at a
            time when differentiating, computed once more; ``None`` keeps those of all steps.
    """

    optimizer: LearnedOptimizer
    task: TrainingTask
    environments: int
    unroll: int
    objective: Objective
    segment: int | None = None

    @property
    def keys(self) -> int:
        """Random keys that one agent needs for an outer step."""
        return self.unroll + 2

    def fresh(self, shared: Shared, keys: jax.Array, phase: jax.Array) -> Agents:
        """Return new agents."""
        tx = self._transform(shared.meta_params, shared)
        return fresh_agents(self.task, tx, keys, phase, self.environments, shared.schedule)

    def ended(self, shared: Shared, agents: Agents) -> tuple[jax.Array, jax.Array]:
        """Return whose lifetime is over, and which of them diverged, bool ``[N]``."""
        broken = ~jnp.isfinite(agents.params).all(axis=1)
        return due(agents, shared.schedule, shared.step, self.unroll) | broken, broken

    def renew(self, shared: Shared, agents: Agents, where: jax.Array, keys: jax.Array) -> Agents:
        """Replace some agents, bool ``[N]``, by new ones."""
        make = functools.partial(self.fresh, shared, keys[:, 0], agents.phase)
        return replace(agents, where, make)

    def train(self, shared: Shared, agents: Agents, keys: jax.Array) -> tuple[Agents, Recorded]:
        """Train for K steps; return the agents, and what each step saw, leaves ``[K, N, ...]``."""
        learn = functools.partial(self._learn, shared.meta_params, shared)
        trained, (_, recorded, _) = self._train(learn, shared, agents, keys)
        return trained, recorded

    def differentiate(self, shared: Shared, agents: Agents, keys: jax.Array) -> tuple:
        """Train for K steps; return the agents, and an outcome with meta-gradients."""
        learn = functools.partial(self._learn, shared.meta_params, shared)
        keep = self.segment is None
        trained, (history, recorded, measured) = self._train(learn, shared, agents, keys, keep=keep)
        actor, batch, _ = self._rollout(trained, keys[:, -1])
        update = functools.partial(self._update, shared)

        def meta_gradient(state: tuple, end: Agents, batch: Batch, recorded: Any, along: Any):
            loss, last = jax.value_and_grad(self._value)(end.params, end.traits, batch)
            cotangents = last
            if along is not None:
                cotangents = jnp.concatenate([along[1:], last[None]]) / self.unroll
            packed = (update, shared.meta_params, state, recorded, cotangents)
            if keep:
                return loss, recorded_gradient(*packed)
            return loss, replay_gradient(*packed, self.segment)

        start = history if keep else (agents.opt_state, agents.params)
        # What was recorded has the agents on its second axis, after the steps.
        mapped = over_agents(meta_gradient, (int(keep), 0, 0, 1, 1), ahead=not keep)
        loss, gradient = mapped(start, trained, batch, recorded, measured.cotangent)
        statistics = self._statistics(trained, measured)
        return trained._replace(actor=actor), Outcome(loss, statistics, gradient)

    def measure(self, shared: Shared, meta_params: Tree, agents: Agents, keys: jax.Array) -> tuple:
        """Train for K steps, each agent with its own meta-parameters ``[N, ...]``.

        Returns:
            The agents, and an outcome without meta-gradients; its loss is NaN of agents that
            diverged.
        """

        def learn(meta_params: Tree, *agent: Any) -> tuple:
            return self._learn(meta_params, shared, *agent)

        trained, (*_, measured) = self._train(learn, shared, agents, keys, meta_params)
        if self.objective.over == "during":
            loss = -measured.reward.mean(0)
        else:
            actor, batch, _ = self._rollout(trained, keys[:, -1])
            loss = self._loss(trained, batch, measured)
            trained = trained._replace(actor=actor)
        loss = jnp.where(jnp.isfinite(trained.params).all(axis=1), loss, jnp.nan)
        return trained, Outcome(loss, self._statistics(trained, measured))

    def _loss(self, trained: Agents, batch: Batch, measured: Measured) -> jax.Array:
        """Return the objective's value, ``[N]``; leaves of ``measured`` are ``[K, N]``."""
        if self.objective.term == "return":
            last, before = -_reward(batch), -measured.reward[1:]
        else:
            last = jax.vmap(self._value)(trained.params, trained.traits, batch)
            before = measured.value[1:]
        return last if self.objective.over == "next" else (before.sum(0) + last) / self.unroll

    def _train(
        self,
        learn: Callable,
        shared: Shared,
        agents: Agents,
        keys: jax.Array,
        *per: Tree,
        keep: bool = False,
    ) -> tuple:
        """Take K inner steps.

        Returns:
            The agents, and with leaves ``[K, N, ...]``: ``(opt_state, params)`` before each step if
            they are to be kept, what is recorded, and what is measured.
        """

        def inner_step(agents: Agents, keys: jax.Array) -> tuple[Agents, tuple]:
            actor, batch, returns = self._rollout(agents, keys)
            span = (shared.schedule.interval * self.unroll).astype(jnp.float32)
            progress = jnp.minimum(agents.age / span, 1.0)
            given = {}
            if "key" in self.optimizer.reads:
                given["key"] = jax.vmap(noise_key)(keys)
            params, opt_state, recorded, cotangent = over_agents(learn)(
                *per, agents.params, agents.opt_state, agents.traits, batch, progress, given
            )
            measured = Measured(
                cotangent, recorded.value, _reward(batch), returns.total, returns.episodes
            )
            trained = agents._replace(
                params=params, opt_state=opt_state, actor=actor, age=agents.age + 1
            )
            before = (agents.opt_state, agents.params) if keep else None
            return trained, (before, recorded, measured)

        return jax.lax.scan(inner_step, agents, keys[:, 1:-1].T)

    def _learn(
        self,
        meta_params: Tree,
        shared: Shared,
        params: jax.Array,
        opt_state: Tree,
        traits: Traits,
        batch: Batch,
        progress: jax.Array,
        given: dict[str, Tree],
    ) -> tuple:
        """Update one agent on its rollout; return also what is recorded."""

        def loss(tree: Tree) -> tuple:
            return self.task.agent.loss(true_tree(tree, traits), batch, traits.reward_scale)

        tree = self.task.agent.unravel(params)
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(tree)
        if "activations" in self.optimizer.reads:
            units = self.task.agent.activations(true_tree(tree, traits), batch)
            given = given | {"activations": units}
        recorded = Recorded(ravel(gradient), value, progress, given)
        opt_state, params = self._update(shared, meta_params, (opt_state, params), recorded)
        cotangent = None
        if self.objective.over == "unroll" and self.objective.term == "actor":
            cotangent = ravel(jax.grad(lambda tree: loss(tree)[1]["actor"])(tree))
        elif self.objective.over == "unroll" and self.objective.term == "agent_loss":
            cotangent = recorded.gradient
        return params, opt_state, recorded, cotangent

    def _update(self, shared: Shared, meta_params: Tree, state: tuple, step: Recorded) -> tuple:
        """Let the optimizer take one step: ``(opt_state, params)`` before and after."""
        opt_state, params = state
        tx = self._transform(meta_params, shared)
        told = {"value": step.value, "progress": step.progress, **step.given}
        updates, opt_state = tx.update(step.gradient, opt_state, params, **told)
        return opt_state, optax.apply_updates(params, updates)

    def _transform(
        self, meta_params: Tree, shared: Shared
    ) -> optax.GradientTransformationExtraArgs:
        rate = self.task.learning_rate * shared.learning_rate_scale
        tx = self.optimizer.transform(meta_params, learning_rate=rate)
        return tx if self.optimizer.coordinate_wise else on_tree(tx, self.task.agent.unravel)

    def _rollout(self, agents: Agents, keys: jax.Array) -> tuple:
        """Let every agent act: actors, batches and finished episodes, leading axis ``N``."""

        def act(params: jax.Array, traits: Traits, actor: Any, key: jax.Array) -> tuple:
            return self.task.agent.rollout(parameters(self.task, params, traits), actor, key)

        return jax.vmap(act)(agents.params, agents.traits, agents.actor, keys)

    def _value(self, params: jax.Array, traits: Traits, batch: Batch) -> jax.Array:
        """Return the objective's term of the agent loss on a batch."""
        tree = parameters(self.task, params, traits)
        total, terms = self.task.agent.loss(tree, batch, traits.reward_scale)
        return total if self.objective.term == "agent_loss" else terms["actor"]

    def _statistics(self, agents: Agents, measured: Measured) -> dict:
        """Return what is logged, ``[N]`` each; leaves of ``measured`` are ``[K, N]``."""
        return {
            "total": measured.total.sum(0),
            "episodes": measured.episodes.sum(0),
            "age": agents.age.astype(jnp.float32),
            "agent_loss": measured.value.mean(0),
        }


def _reward(batch: Batch) -> jax.Array:
    """Return the sum of rewards, mean over environments, of batches ``[N, T, E]``."""
    return jnp.mean(jnp.sum(batch.reward, axis=1), axis=-1)

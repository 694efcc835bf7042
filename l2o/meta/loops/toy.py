"""The inner loop of A2C agents and classifiers."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.agents.a2c import Batch
from l2o.agents.vectorize import over_agents, ravel
from l2o.meta.loops.base import InnerLoop, Outcome, Recorded, Shared
from l2o.meta.population import (
    Agents,
    Schedule,
    Traits,
    draw_traits,
    new_agents,
    parameters,
    sound,
    true_tree,
)
from l2o.meta.tasks import TrainingTask
from l2o.seeding import noise_key

Tree = Any


class Measured(NamedTuple):
    """One inner step of an agent, for objectives and statistics."""

    cotangent: jax.Array | None  # [P], gradient of the objective's term if it is over the unroll
    value: jax.Array  # [] float32, agent loss
    reward: jax.Array  # [] float32, sum over the rollout, mean over environments
    total: jax.Array  # [] float32, sum of the returns of the episodes that finished
    episodes: jax.Array  # [] float32, how many


@dataclasses.dataclass(frozen=True)
class ToyLoop(InnerLoop):
    """Trains a population of A2C agents or classifiers: an inner step is a rollout and an update.

    Keys are for a reset, for each inner step, and for the rollout after the last one.

    Attributes:
        environments: Environments per agent.
    """

    environments: int

    @property
    def keys(self) -> int:
        """Random keys that one agent needs for an outer step."""
        return self.unroll + 2

    def fresh(self, shared: Shared, keys: jax.Array, phase: jax.Array) -> Agents:
        """Return new agents."""
        tx = self._transform(shared.meta_params, shared)
        return fresh_agents(self.task, tx, keys, phase, self.environments, shared.schedule)

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
        start = history if keep else (agents.opt_state, agents.params)
        end = trained._replace(opt_state=None, actor=None)

        def value(params: jax.Array, agent: Agents, batch: Batch) -> jax.Array:
            return self._value(params, agent.traits, batch)

        loss, gradient = self._meta_gradients(
            shared, start, end, recorded, measured.cotangent, value, batch
        )
        statistics = self._statistics(trained, measured)
        return trained._replace(actor=actor), Outcome(loss, statistics, gradient)

    def measure(
        self, shared: Shared, meta_params: Tree, agents: Agents, keys: jax.Array
    ) -> tuple[Agents, Outcome]:
        """Train for K steps; see :meth:`InnerLoop.measure`."""

        def learn(meta_params: Tree, *agent: Any) -> tuple:
            return self._learn(meta_params, shared, *agent)

        trained, (*_, measured) = self._train(learn, shared, agents, keys, meta_params)
        if self.objective.over == "during":
            loss = -measured.reward.mean(0)
        else:
            actor, batch, _ = self._rollout(trained, keys[:, -1])
            loss = self._loss(trained, batch, measured)
            trained = trained._replace(actor=actor)
        loss = jnp.where(sound(trained), loss, jnp.nan)
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
            progress = self._progress(shared, agents)
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
        opt_state, params = self._update(shared, meta_params, traits, (opt_state, params), recorded)
        cotangent = None
        if self.objective.over == "unroll" and self.objective.term == "actor":
            cotangent = ravel(jax.grad(lambda tree: loss(tree)[1]["actor"])(tree))
        elif self.objective.over == "unroll" and self.objective.term == "agent_loss":
            cotangent = recorded.gradient
        return params, opt_state, recorded, cotangent

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


def _reward(batch: Batch) -> jax.Array:
    """Return the sum of rewards, mean over environments, of batches ``[N, T, E]``."""
    return jnp.mean(jnp.sum(batch.reward, axis=1), axis=-1)


def fresh_agents(
    task: TrainingTask,
    tx: optax.GradientTransformation,
    keys: jax.Array,
    phase: jax.Array,
    environments: int,
    schedule: Schedule,
) -> Agents:
    """Return agents at the start of their lifetimes.

    Args:
        task: What they learn.
        tx: The optimizer; only its ``init`` is used.
        keys: Random keys, ``[N]``.
        phase: See :func:`l2o.meta.population.phases`.
        environments: Environments of each agent.
        schedule: See :class:`l2o.meta.population.Schedule`.
    """
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    params = jax.vmap(lambda key: ravel(task.agent.init_params(key)))(keys[:, 0])
    actor = jax.vmap(lambda key: task.agent.init_actor(key, environments))(keys[:, 1])
    traits = jax.vmap(lambda key: draw_traits(task, key, schedule))(keys[:, 2])
    return new_agents(task, tx, (params, actor), phase, traits)

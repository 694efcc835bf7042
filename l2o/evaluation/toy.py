"""Lifetimes of agents on toy tasks: many optimizers and seeds as one program."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.agents.a2c import ActorState, Batch
from l2o.agents.classifier import ToyAgent
from l2o.agents.vectorize import RUN_ONCE, over_agents, ravel
from l2o.evaluation.candidates import Program
from l2o.seeding import noise_key

Tree = Any


class ToyState(NamedTuple):
    """``L`` agents (lanes) in training; every leaf has the leading axis ``L``."""

    params: jax.Array  # [L, P] float32
    opt_state: Tree
    actor: ActorState
    key: jax.Array  # [L] typed keys
    update: jax.Array  # [L] int32, updates so far
    updates: jax.Array  # [L] int32, of the whole lifetime


@dataclasses.dataclass(frozen=True)
class ToyLifetime:
    """Trains agents; the return is that of the training episodes.

    Attributes:
        agent: Algorithm and environment, or a classifier.
        environments: Environments of each agent; examples in a classifier's batch.
    """

    agent: ToyAgent
    environments: int

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one agent update."""
        return self.environments * self.agent.hyperparameters.rollout_steps

    @functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=RUN_ONCE)
    def init(
        self, program: Program, values: Tree, keys: jax.Array, updates: jax.Array | int
    ) -> ToyState:
        """Return new agents, one per key; equal keys give equal agents and environments."""

        def one(values: Tree, key: jax.Array) -> ToyState:
            key_params, key_actor, key = jax.random.split(key, 3)
            params = ravel(self.agent.init_params(key_params))
            actor = self.agent.init_actor(key_actor, self.environments)
            opt_state = program.transform(values, self.agent.unravel).init(params)
            zero = jnp.zeros((), jnp.int32)
            return ToyState(params, opt_state, actor, key, zero, zero + updates)

        return jax.vmap(one)(values, keys)

    def advance(
        self,
        program: Program,
        values: Tree,
        state: ToyState,
        updates: int,
        pause: Callable[[], bool] | None = None,
    ) -> tuple[ToyState, dict[str, jax.Array]]:
        """Train for some updates.

        Args:
            program: How values become an optimizer; static.
            values: Per lane.
            state: The agents.
            updates: How many, static.
            pause: Not asked: all of them are one program.

        Returns:
            The agents, and per lane ``return`` (mean over the episodes that finished meanwhile,
            NaN if none did) and ``episodes``, float32 ``[L]``.
        """
        return self._advance(program, values, state, updates)

    def lowered(
        self, program: Program, values: Tree, keys: jax.Array, updates: int
    ) -> Iterator[tuple[str, jax.stages.Lowered]]:
        """Yield the programs of :meth:`advance`, by name; arguments may be shapes alone."""
        state = type(self).init.eval_shape(self, program, values, keys, updates)
        yield "lifetime", type(self)._advance.lower(self, program, values, state, updates)

    @functools.partial(jax.jit, static_argnums=(0, 1, 4))
    def _advance(self, program: Program, values: Tree, state: ToyState, updates: int) -> tuple:
        def learn(
            values: Tree,
            progress: jax.Array,
            params: jax.Array,
            opt_state: Tree,
            batch: Batch,
            given: dict[str, Any],
        ) -> tuple:
            tree = self.agent.unravel(params)
            loss, gradient = jax.value_and_grad(lambda tree: self.agent.loss(tree, batch)[0])(tree)
            tx = program.transform(values, self.agent.unravel)
            if "activations" in program.reads:
                given = given | {"activations": self.agent.activations(tree, batch)}
            step, opt_state = tx.update(
                ravel(gradient), opt_state, params, value=loss, progress=progress, **given
            )
            return params + step, opt_state

        def rollout(params: jax.Array, actor: ActorState, key: jax.Array) -> tuple:
            return self.agent.rollout(self.agent.unravel(params), actor, key)

        def update(state: ToyState, step: jax.Array) -> tuple[ToyState, Any]:
            keys = jax.vmap(jax.random.split)(state.key)
            actor, batch, returns = jax.vmap(rollout)(state.params, state.actor, keys[:, 0])
            progress = state.update / state.updates
            given = {}
            if "key" in program.reads:
                given["key"] = jax.vmap(noise_key)(keys[:, 0])
            params, opt_state = over_agents(learn)(
                values, progress, state.params, state.opt_state, batch, given
            )
            update = state.update + 1
            return ToyState(params, opt_state, actor, keys[:, 1], update, state.updates), returns

        state, returns = jax.lax.scan(update, state, length=updates)
        episodes = returns.episodes.sum(0)
        return state, {"return": returns.total.sum(0) / episodes, "episodes": episodes}

"""Lifetimes of PPO agents: many optimizers and seeds as one program."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2o.agents.ppo.agent import PPO
from l2o.agents.ppo.learning import learn
from l2o.agents.ppo.lifetime import PPOActor, begin, collect
from l2o.agents.ppo.lifetime import evaluate as play
from l2o.agents.ppo.loss import Rollout
from l2o.agents.vectorize import RUN_ONCE, over_agents
from l2o.evaluation.candidates import Program
from l2o.jobs.programs import needed_bytes

Tree = Any


class PPOState(NamedTuple):
    """``L`` agents (lanes) in training; every leaf has the leading axis ``L``."""

    params: jax.Array  # [L, P] float32
    opt_state: Tree
    actor: PPOActor
    update: jax.Array  # [L] int32, updates so far
    updates: jax.Array  # [L] int32, of the whole lifetime


@dataclasses.dataclass(frozen=True)
class PPOLifetime:
    """Trains PPO agents; the return is that of deterministic episodes on separate environments.

    Attributes:
        agent: Algorithm and environment.
        episodes: Evaluation episodes per point.
    """

    agent: PPO
    episodes: int = 16

    @functools.cached_property
    def _compiled(self) -> dict[tuple[Program, int], Any]:
        """Programs that learn, by what they are compiled for: each can tell its memory."""
        return {}

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one agent update."""
        return self.agent.steps_per_update

    def init(
        self, program: Program, values: Tree, keys: jax.Array, updates: jax.Array | int
    ) -> PPOState:
        """Return new agents, one per key; equal keys give equal agents and environments."""
        state = self._init_agents(keys, updates)
        return state._replace(opt_state=self._init_optimizer(program, values, state.params))

    @functools.partial(jax.jit, static_argnums=0)
    def _init_agents(self, keys: jax.Array, updates: jax.Array | int) -> PPOState:
        """Return agents without an optimizer: a reset of the physics takes seconds to compile.

        Optimized like a program that runs often: equal keys are to give equal agents, to the last
        bit, in meta-training too.
        """

        def one(key: jax.Array) -> PPOState:
            params, actor = begin(self.agent, key)
            zero = jnp.zeros((), jnp.int32)
            return PPOState(params, None, actor, zero, zero + updates)

        return jax.vmap(one)(keys)

    @functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=RUN_ONCE)
    def _init_optimizer(self, program: Program, values: Tree, params: jax.Array) -> Tree:
        def one(values: Tree, params: jax.Array) -> Tree:
            return program.transform(values, self.agent.unravel).init(params)

        return jax.vmap(one)(values, params)

    def advance(
        self,
        program: Program,
        values: Tree,
        state: PPOState,
        updates: int,
        pause: Callable[[], bool] | None = None,
    ) -> tuple[PPOState, dict[str, Any] | None]:
        """Train for some updates, then play evaluation episodes.

        Collection, learning and evaluation are programs of their own: the physics, by far the
        slowest part to compile, is then compiled once for all optimizers. The calls are dispatched
        without waiting for each other.

        Args:
            program: How values become an optimizer.
            values: Per lane.
            state: The agents.
            updates: How many.
            pause: Asked after every update whether to stop there.

        Returns:
            The agents, and per lane ``return`` (mean over the evaluation episodes), ``episodes``
            and ``peak_bytes``, float32 ``[L]`` or the same for all; None if it was told to pause.
        """
        end = state.update + updates
        state = self.train(program, values, state, updates, pause)
        if pause and (state.update < end).any():
            return state, None
        returns = self._evaluate(_actors(state), np.zeros(state.update.shape, bool))
        peak = self.peak_bytes(program, state.update.shape[0])
        return state, {"return": returns, "episodes": self.episodes, "peak_bytes": peak}

    def train(
        self,
        program: Program,
        values: Tree,
        state: PPOState,
        updates: int,
        pause: Callable[[], bool] | None = None,
    ) -> PPOState:
        """Train for some updates; see :meth:`advance`."""
        for _ in range(updates):
            before = state.update
            actor, data, keys = self._collect(state.params, state.actor)
            state = state._replace(actor=actor)
            state = self._compile(program, values, state, data, keys)(values, state, data, keys)
            if pause:
                jax.block_until_ready(before)  # the device is at most one update behind
                if pause():
                    break
        return state

    def lowered(
        self, program: Program, values: Tree, keys: jax.Array, updates: int
    ) -> Iterator[tuple[str, jax.stages.Lowered]]:
        """Yield the programs of :meth:`advance`, by name; arguments may be shapes alone."""
        kind = type(self)
        state = kind._init_agents.eval_shape(self, keys, updates)
        optimizer = kind._init_optimizer.eval_shape(self, program, values, state.params)
        state, actors = state._replace(opt_state=optimizer), _actors(state)
        args = (state.params, state.actor)
        yield "collect", kind._collect.lower(self, *args)
        _, data, keys = jax.eval_shape(functools.partial(kind._collect, self), *args)
        yield "learn", kind._learn.lower(self, program, values, state, data, keys)
        random = jax.ShapeDtypeStruct(state.update.shape, bool)
        yield "evaluate", kind._evaluate.lower(self, actors, random)

    def _compile(self, program: Program, *args: Tree) -> Any:
        """Return the compiled program that learns with so many agents."""
        key = (program, args[-1].shape[0])
        if key not in self._compiled:
            self._compiled[key] = self._learn.lower(self, program, *args).compile()
        return self._compiled[key]

    def peak_bytes(self, program: Program, lanes: int) -> float:
        """Return the memory of learning per agent: arguments, results and temporary arrays.

        NaN before so many agents have learned with that program, and where the backend does not
        tell.
        """
        compiled = self._compiled.get((program, lanes))
        return needed_bytes(compiled) / lanes if compiled else float("nan")

    def agent_bytes(self) -> int:
        """Return roughly what one agent in training needs, to choose how many fit memory."""
        settings, agent = self.agent.settings, self.agent
        params, actor = jax.eval_shape(functools.partial(begin, agent), jax.random.key(0))
        actor, seen = jax.eval_shape(functools.partial(collect, agent), params, actor)
        data, env_state = seen.data, actor.env_state
        minibatch = settings.batch_size * settings.unroll_length
        activations = 4 * minibatch * sum([*settings.policy_layers, *settings.value_layers])
        # The batch and its shuffled copy; activations and their gradients; evaluation episodes.
        evaluation = _bytes(env_state) * self.episodes // settings.environments
        return 2 * _bytes(data) + 3 * activations + _bytes(env_state) + evaluation

    @functools.partial(jax.jit, static_argnums=0)
    def _collect(self, params: jax.Array, actor: PPOActor) -> tuple[PPOActor, Rollout, jax.Array]:
        """Let every agent act for one update; return also keys to learn with.

        Without the optimizer's state: one program then serves all optimizers.
        """
        actor, seen = jax.vmap(functools.partial(collect, self.agent))(params, actor)
        return actor, seen.data, seen.key

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def _learn(
        self, program: Program, values: Tree, state: PPOState, data: Tree, keys: jax.Array
    ) -> PPOState:
        """Update every agent on what it collected."""

        def one(values: Tree, *args: Any) -> tuple:
            tx = program.transform(values, self.agent.unravel)
            return learn(self.agent, tx, *args, program.reads)

        params, opt_state, normalizer = over_agents(one)(
            values,
            state.params,
            state.opt_state,
            state.actor.normalizer,
            data,
            keys,
            state.update / state.updates,
        )
        actor = state.actor._replace(normalizer=normalizer)
        return state._replace(
            params=params, opt_state=opt_state, actor=actor, update=state.update + 1
        )

    def random_returns(self, state: PPOState, points: int) -> jax.Array:
        """Return mean returns of uniformly random actions, the zero of scores, ``[points, L]``.

        Args:
            state: Any agents: they do not act, but name the environments.
            points: How often to play evaluation episodes.
        """
        everywhere, actors = np.ones(state.update.shape, bool), _actors(state)
        steps = [actors._replace(update=jnp.full_like(state.update, i)) for i in range(points)]
        return jnp.stack([self._evaluate(step, everywhere) for step in steps])

    @functools.partial(jax.jit, static_argnums=0)
    def _evaluate(self, state: PPOState, random: jax.Array) -> jax.Array:
        """Play evaluation episodes with every agent; return their mean returns ``[L]``.

        Args:
            state: The agents, see :func:`_actors`.
            random: bool ``[L]``: whose actions are random instead. One program for all: physics
                takes long to compile.
        """

        def one(*args: Any) -> jax.Array:
            params, actor, update, random = args
            return play(self.agent, params, actor, update, self.episodes, random)

        return jax.vmap(one)(state.params, state.actor, state.update, random)


def _actors(state: PPOState) -> PPOState:
    """Leave out what acting does not need: one program then serves the agents of any optimizer."""
    return state._replace(opt_state=None, actor=state.actor._replace(env_state=None))


def _bytes(tree: Tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

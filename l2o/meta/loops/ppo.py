"""The inner loop of PPO agents: the same lifetimes as in evaluation, several updates at a time."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.agents.ppo.agent import PPO
from l2o.agents.ppo.learning import prepare, run_epochs
from l2o.agents.ppo.lifetime import Collected, PPOActor, begin, collect, evaluate
from l2o.agents.ppo.loss import ppo_loss, ppo_terms
from l2o.agents.vectorize import over_agents
from l2o.meta.loops.base import InnerLoop, Outcome, Recorded, Shared
from l2o.meta.population import Agents, Traits, draw_traits, new_agents, sound, spread_scale

Tree = Any
_TRAITS = 2  # folded into an agent's key, for what evaluation has no use for


class Acting(NamedTuple):
    """What acts in a population, leaves ``[N, ...]``."""

    actor: PPOActor
    episode_return: jax.Array  # [N, E] float32, of the running episodes


class Measured(NamedTuple):
    """One inner step of an agent, for objectives and statistics."""

    value: jax.Array  # [] float32, agent loss, mean over updates
    term: jax.Array | None  # [] float32, the objective's term before the step, if it is averaged
    cotangent: jax.Array | None  # [P], its gradient
    total: jax.Array  # [] float32, sum of the returns of the episodes that finished
    episodes: jax.Array  # [] float32, how many


@dataclasses.dataclass(frozen=True)
class PPOLoop(InnerLoop):
    """Trains a population of PPO agents: an inner step is one iteration of PPO.

    That is collection, an update of the observation statistics, and epochs of minibatches. An
    agent carries its own random key, from which all in its life comes but its start. Objectives
    about fresh steps take one unroll of every environment after the last iteration.

    Attributes:
        episodes: Episodes that an agent is evaluated on.
    """

    episodes: int

    @property
    def keys(self) -> int:
        """One, for a reset."""
        return 1

    @property
    def agent(self) -> PPO:
        """The algorithm and its environment."""
        return self.task.agent

    def fresh(self, shared: Shared, keys: jax.Array, phase: jax.Array) -> Agents:
        """Return new agents."""
        params, actor = jax.vmap(functools.partial(begin, self.agent))(keys)
        traits = jax.vmap(
            lambda key: draw_traits(self.task, jax.random.fold_in(key, _TRAITS), shared.schedule)
        )(keys)
        acting = Acting(actor, jnp.zeros((len(params), self.agent.settings.environments)))
        tx = self._transform(shared.meta_params, shared)
        return new_agents(self.task, tx, (params, acting), phase, traits)

    def measure(
        self, shared: Shared, meta_params: Tree, agents: Agents, keys: jax.Array
    ) -> tuple[Agents, Outcome]:
        """Train for K iterations; see :meth:`InnerLoop.measure`."""
        del keys

        def learn(meta_params: Tree, *agent: Any) -> tuple:
            return self._learn(meta_params, shared, *agent)

        trained, (*_, measured) = self._train(learn, shared, agents, meta_params)
        weight = None
        if self.objective.over == "evaluation":
            loss = jnp.full(len(agents.age), jnp.nan)  # comes from `assess`
        elif self.objective.term == "return":
            weight = measured.episodes.sum(0)
            loss = jnp.where(weight > 0, -measured.total.sum(0) / weight, jnp.inf)
        else:
            trained, batch = self._collect_fresh(trained)
            loss = jax.vmap(self._value)(trained.params, _judged(trained), batch)
            if self.objective.over == "unroll":
                loss = (measured.term[1:].sum(0) + loss) / self.unroll
        loss = jnp.where(sound(trained), loss, jnp.nan)
        return trained, Outcome(loss, self._statistics(trained, measured), weight=weight)

    def assess(self, agents: Agents, loss: jax.Array) -> jax.Array:
        """Return minus the mean return of evaluation episodes, if that is the objective, ``[N]``.

        NaN of agents that diverged.
        """
        if self.objective.over != "evaluation":
            return loss

        def one(params: jax.Array, traits: Traits, actor: PPOActor, age: jax.Array) -> jax.Array:
            return evaluate(self.agent, self._view(traits)(params), actor, age, self.episodes)

        returns = jax.vmap(one)(agents.params, agents.traits, agents.actor.actor, agents.age)
        return jnp.where(sound(agents), -returns, jnp.nan)

    def differentiate(
        self, shared: Shared, agents: Agents, keys: jax.Array
    ) -> tuple[Agents, Outcome]:
        """Train for K iterations; return the agents, and an outcome with meta-gradients."""
        del keys
        keep = self.segment is None

        def learn(*agent: Any) -> tuple:
            return self._learn(shared.meta_params, shared, *agent, record=True, keep=keep)

        trained, (history, recorded, measured) = self._train(learn, shared, agents)
        trained, batch = self._collect_fresh(trained)
        start = history if keep else (agents.opt_state, agents.params)
        loss, gradient = self._meta_gradients(
            shared, start, _judged(trained), recorded, measured.cotangent, self._value, batch
        )
        return trained, Outcome(loss, self._statistics(trained, measured), gradient)

    def _train(self, learn: Callable, shared: Shared, agents: Agents, *per: Tree) -> tuple:
        """Take K inner steps; return the agents, and what came of each, leaves ``[K, N, ...]``."""

        def iteration(agents: Agents, _: None) -> tuple[Agents, tuple]:
            before = agents
            agents, seen, total, episodes = self._collect(agents)
            term, cotangent = self._along(before, seen)
            progress = self._progress(shared, agents)
            normalizer = agents.actor.actor.normalizer
            (opt_state, params), normalizer, (history, recorded, value) = over_agents(learn)(
                *per,
                agents.params,
                agents.opt_state,
                agents.traits,
                normalizer,
                seen.data,
                seen.key,
                progress,
            )
            actor = agents.actor.actor._replace(normalizer=normalizer)
            measured = Measured(value.mean(1), term, cotangent, total, episodes)
            agents = agents._replace(
                params=params,
                opt_state=opt_state,
                actor=agents.actor._replace(actor=actor),
                age=agents.age + 1,
            )
            return agents, (history, recorded, measured)

        return jax.lax.scan(iteration, agents, length=self.unroll)

    def _learn(
        self,
        meta_params: Tree,
        shared: Shared,
        params: jax.Array,
        opt_state: Tree,
        traits: Traits,
        normalizer: Tree,
        data: Any,
        key: jax.Array,
        progress: jax.Array,
        record: bool = False,
        keep: bool = False,
    ) -> tuple:
        """Train one agent on what it collected.

        Returns:
            The state of optimizer and parameters; observation statistics; and of every update,
            leaves ``[updates, ...]``: the state before it if asked to keep it, what it was given
            if asked to record it, and the agent loss.
        """

        def update(state: tuple, gradient: jax.Array, told: dict[str, Any]) -> tuple[tuple, tuple]:
            params, opt_state = state
            given = {name: value for name, value in told.items() if name != "value"}
            # Parameters and their gradient are multiplied by the same factors.
            seen = self._view(traits)(gradient)
            step = Recorded(seen, told["value"], progress, given)
            before = (opt_state, params)
            opt_state, params = self._update(shared, meta_params, traits, before, step)
            out = (before if keep else None, step if record else None, step.value)
            return (params, opt_state), out

        (params, opt_state), normalizer, outputs = run_epochs(
            self.agent,
            update,
            (params, opt_state),
            normalizer,
            data,
            key,
            self.optimizer.reads,
            self._view(traits),
        )
        # [epochs, minibatches, ...] -> [updates, ...]
        outputs = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
        return (opt_state, params), normalizer, outputs

    def _collect(
        self, agents: Agents, unrolls: int | None = None
    ) -> tuple[Agents, Collected, jax.Array, jax.Array]:
        """Let every agent act; return also the total of the finished episodes, and how many."""

        def act(params: jax.Array, traits: Traits, acting: Acting) -> tuple:
            actor, seen = collect(
                self.agent,
                self._view(traits)(params),
                acting.actor,
                unrolls,
                traits.reward_scale,
            )
            running, total, episodes = _finished(acting.episode_return, seen.transitions)
            return Acting(actor, running), seen._replace(transitions=None), total, episodes

        acting, seen, total, episodes = jax.vmap(act)(agents.params, agents.traits, agents.actor)
        return agents._replace(actor=acting), seen, total, episodes

    def _collect_fresh(self, agents: Agents) -> tuple[Agents, Collected]:
        """Let every agent act for one unroll, for the objective alone."""
        agents, seen, _, _ = self._collect(agents, unrolls=1)
        return agents, seen

    def _along(self, agents: Agents, seen: Collected) -> tuple[Any, Any]:
        """Return the objective's term before an inner step and its gradient, where it is averaged.

        The first step's is of no use, but costs no program of its own.
        """
        if self.objective.over != "unroll":
            return None, None
        return over_agents(jax.value_and_grad(self._value))(agents.params, _judged(agents), seen)

    def _value(self, params: jax.Array, agent: Agents, seen: Collected) -> jax.Array:
        """Return the objective's term of the agent loss on what one agent collected."""
        data = prepare(self.agent, seen.data, agent.actor.actor.normalizer, seen.key)
        tree = self.agent.unravel(self._view(agent.traits)(params))
        packed = (tree, data, self.agent.networks, self.agent.settings)
        if self.objective.term == "agent_loss":
            return ppo_loss(*packed)
        return ppo_terms(*packed)["actor"]

    def _view(self, traits: Traits) -> Callable[[jax.Array], jax.Array]:
        """Return the function from the parameters that an optimizer sees to the agent's own."""
        if traits.tensor_scale is None:
            return lambda params: params
        return lambda params: params * spread_scale(self.task, traits.tensor_scale)


def _judged(agents: Agents) -> Agents:
    """Return of agents what an objective on a batch looks at."""
    seeing = PPOActor(agents.actor.actor.normalizer, None, None, None)
    return agents._replace(opt_state=None, actor=Acting(seeing, None))


def _finished(running: jax.Array, seen: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the returns of running episodes ``[E]``, the total of finished ones, how many."""
    environments = running.size

    def in_time(x: jax.Array) -> jax.Array:
        """Put steps in order: [T, unrolls * E] to [unrolls * T, E]."""
        x = x.reshape(x.shape[0], -1, environments)
        return jnp.swapaxes(x, 0, 1).reshape(-1, environments)

    def step(running: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        reward, done = now
        running = running + reward
        return running * (1 - done), jnp.sum(running * done)

    done = in_time(seen.done)
    running, totals = jax.lax.scan(step, running, (in_time(seen.reward), done))
    return running, totals.sum(), done.sum()

"""One outer step: K inner steps of every agent, a meta-gradient, a meta-update."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.agents.a2c import A2C, Batch
from l2o.agents.vectorize import over_agents, ravel
from l2o.meta.population import Agents, due, fresh_agents, reset, reset_index
from l2o.meta.replay import replay_gradient
from l2o.optimizers.base import LearnedOptimizer

Tree = Any
OBJECTIVES = ("agent_loss", "actor")


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """A task in the meta-training set.

    Attributes:
        name: Its name, for metrics.
        agent: The agent's algorithm and environment.
        learning_rate: Inner learning rate.
        reward_scale: Multiplies the rewards.
        weight: Of its meta-gradient in the mean over tasks.
    """

    name: str
    agent: A2C
    learning_rate: float
    reward_scale: float = 1.0
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class MetaTrainer:
    """Truncated meta-gradients over a population per task, with pipeline training.

    Attributes:
        optimizer: The learned optimizer.
        tasks: The meta-training set.
        meta_optimizer: Optax transformation of the meta-parameters.
        agents: Agents per task.
        environments: Environments per agent.
        unroll: Inner steps per outer step, ``K``.
        resets: See :func:`l2o.meta.population.reset_index`.
        reset_interval: Outer steps of one lifetime.
        objective: The meta-loss on the rollout after the unroll: ``"agent_loss"`` or its
            ``"actor"`` term alone.
        task_norm: Rescale each task's meta-gradient to this norm before the mean; ``None``: do not.
    """

    optimizer: LearnedOptimizer
    tasks: tuple[TrainingTask, ...]
    meta_optimizer: optax.GradientTransformation
    agents: int
    environments: int
    unroll: int
    resets: str
    reset_interval: int
    objective: str
    task_norm: float | None = None

    def init(self, key: jax.Array) -> "MetaState":
        """Return the state before the first outer step."""
        key_meta, *keys = jax.random.split(key, 1 + len(self.tasks))
        meta_params = self.optimizer.init_meta(key_meta)
        tx = self.optimizer.transform(meta_params)
        populations = tuple(
            fresh_agents(task.agent, tx, k, self.agents, self.environments)
            for task, k in zip(self.tasks, keys, strict=True)
        )
        zero = jnp.zeros((), jnp.int32)
        meta_opt_state = self.meta_optimizer.init(meta_params)
        schedule = Schedule(
            reset_index(self.resets, self.agents, self.reset_interval),
            jnp.asarray(self.reset_interval, jnp.int32),
        )
        return MetaState(meta_params, meta_opt_state, populations, schedule, zero, zero, zero)

    def run(self, state: "MetaState", key: jax.Array, steps: int) -> tuple["MetaState", dict]:
        """Take ``steps`` outer steps without a host round trip.

        Args:
            state: Where to start.
            key: Key of the whole run; each step folds in its number, so that a run continues
                identically from any step.
            steps: How many, static.

        Returns:
            The state after, and metrics, arrays ``[steps]`` float32.
        """
        return jax.lax.scan(
            lambda state, _: self.step(state, jax.random.fold_in(key, state.step)),
            state,
            length=steps,
        )

    def step(self, state: "MetaState", key: jax.Array) -> tuple["MetaState", dict]:
        """Take one outer step; a non-finite meta-gradient changes nothing but the counters."""
        gradients, populations, metrics = [], [], {}
        keys = jax.random.split(key, len(self.tasks))
        for task, agents, k in zip(self.tasks, state.populations, keys, strict=True):
            gradient, agents, task_metrics = self._task_gradient(task, agents, state, k)
            gradients.append(self._rescale(task, gradient))
            populations.append(agents)
            metrics |= {f"{task.name}/{name}": value for name, value in task_metrics.items()}

        weight = sum(task.weight for task in self.tasks)
        mean = jax.tree.map(lambda *terms: sum(terms) / weight, *gradients)
        norm = optax.tree.norm(mean)
        usable = jnp.isfinite(norm)
        updates, meta_opt_state = self.meta_optimizer.update(
            mean, state.meta_opt_state, state.meta_params
        )
        stepped = (optax.apply_updates(state.meta_params, updates), meta_opt_state)
        meta_params, meta_opt_state = jax.tree.map(
            lambda new, old: jnp.where(usable, new, old),
            stepped,
            (state.meta_params, state.meta_opt_state),
        )
        skipped = state.skipped + ~usable
        in_a_row = jnp.where(usable, 0, state.skipped_in_a_row + 1)
        metrics |= {
            "meta_gradient_norm": norm,
            "meta_update_norm": jnp.where(usable, optax.tree.norm(updates), 0.0),
            "skipped_steps": skipped.astype(jnp.float32),
        }
        step = state.step + 1
        return MetaState(
            meta_params, meta_opt_state, tuple(populations), state.schedule, step, skipped, in_a_row
        ), metrics

    def _rescale(self, task: TrainingTask, gradient: Tree) -> Tree:
        """Weight a task's meta-gradient, after rescaling it to a norm if asked."""
        factor = task.weight
        if self.task_norm is not None:
            factor = factor * self.task_norm / jnp.maximum(optax.tree.norm(gradient), 1e-12)
        return jax.tree.map(lambda leaf: factor * leaf, gradient)

    def _task_gradient(
        self, task: TrainingTask, agents: Agents, state: "MetaState", key: jax.Array
    ) -> tuple[Tree, Agents, dict]:
        """Advance one task's agents by K inner steps; return its meta-gradient."""

        def transform(meta_params: Tree) -> optax.GradientTransformationExtraArgs:
            return self.optimizer.transform(meta_params, learning_rate=task.learning_rate)

        key_reset, key_unroll, key_meta = jax.random.split(key, 3)
        tx = transform(state.meta_params)
        broken = ~jnp.isfinite(agents.params).all(axis=1)
        scheduled = due(state.schedule.index, state.step, state.schedule.interval)
        agents = reset(
            agents,
            scheduled | broken,
            lambda: fresh_agents(task.agent, tx, key_reset, self.agents, self.environments),
        )

        def inner_step(agents: Agents, key: jax.Array) -> tuple[Agents, tuple]:
            actor, batch, returns = self._rollout(task, agents, key)
            gradient, params, opt_state = over_agents(
                lambda params, opt_state, batch: _inner_update(task, tx, params, opt_state, batch)
            )(agents.params, agents.opt_state, batch)
            return Agents(params, opt_state, actor, agents.age + 1), (gradient, returns)

        trained, (recorded, returns) = jax.lax.scan(
            inner_step, agents, jax.random.split(key_unroll, self.unroll)
        )
        actor, batch, _ = self._rollout(task, trained, key_meta)

        def meta_gradient(start: Tree, end: jax.Array, recorded: jax.Array, batch: Batch) -> tuple:
            loss, cotangent = jax.value_and_grad(self._meta_loss, argnums=1)(task, end, batch)
            gradient = replay_gradient(transform, state.meta_params, *start, recorded, cotangent)
            finite = jnp.isfinite(optax.tree.norm(gradient))
            return jax.tree.map(lambda g: jnp.where(finite, g, 0.0), gradient), loss, finite

        start = (agents.opt_state, agents.params)
        recorded = jnp.swapaxes(recorded, 0, 1)  # [N, K, P]
        gradients, losses, finite = over_agents(meta_gradient)(
            start, trained.params, recorded, batch
        )
        usable = finite.sum()
        # No usable agent at all makes the mean 0/0 on purpose: the step is then skipped.
        mean = jax.tree.map(lambda leaf: leaf.sum(0) / usable, gradients)
        metrics = {
            "return": returns.total.sum() / jnp.maximum(returns.episodes.sum(), 1.0),
            "meta_loss": jnp.mean(losses, where=finite),
            "agents_excluded": (self.agents - usable).astype(jnp.float32),
            "agents_restarted": broken.sum(dtype=jnp.float32),
            "mean_age": jnp.mean(trained.age.astype(jnp.float32)),
        }
        return mean, trained._replace(actor=actor), metrics

    def _rollout(self, task: TrainingTask, agents: Agents, key: jax.Array) -> tuple:
        """Let every agent act: actors, batches and finished episodes, leading axis ``N``."""
        agent = task.agent
        return jax.vmap(lambda p, actor, k: agent.rollout(agent.unravel(p), actor, k))(
            agents.params, agents.actor, jax.random.split(key, self.agents)
        )

    def _meta_loss(self, task: TrainingTask, params: jax.Array, batch: Batch) -> jax.Array:
        """Return the objective on a rollout made after the unroll."""
        total, terms = task.agent.loss(task.agent.unravel(params), batch, task.reward_scale)
        return total if self.objective == "agent_loss" else terms["actor"]


class Schedule(NamedTuple):
    """When agents start new lifetimes."""

    index: jax.Array  # [N] int32, see reset_index
    interval: jax.Array  # [] int32


class MetaState(NamedTuple):
    """Everything that meta-training carries from one outer step to the next."""

    meta_params: Tree
    meta_opt_state: Tree
    populations: tuple[Agents, ...]  # one per task
    schedule: Schedule
    step: jax.Array  # [] int32, outer steps taken
    skipped: jax.Array  # [] int32, outer steps skipped for a non-finite meta-gradient
    skipped_in_a_row: jax.Array  # [] int32


def _inner_update(
    task: TrainingTask,
    tx: optax.GradientTransformationExtraArgs,
    params: jax.Array,
    opt_state: Tree,
    batch: Batch,
) -> tuple[jax.Array, jax.Array, Tree]:
    """Update one agent on its rollout; return its gradient ``[P]``, parameters and state."""
    agent = task.agent
    gradient = ravel(
        jax.grad(lambda tree: agent.loss(tree, batch, task.reward_scale)[0])(agent.unravel(params))
    )
    updates, opt_state = tx.update(gradient, opt_state, params)
    return gradient, optax.apply_updates(params, updates), opt_state

"""One outer step: K inner steps of every agent, a meta-gradient, a meta-update."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l2o.meta.estimators.base import Estimate, Estimator
from l2o.meta.loops.base import InnerLoop, Shared
from l2o.meta.population import Schedule, make_schedule, phases
from l2o.optimizers.base import LearnedOptimizer

Tree = Any
_AGE_BUCKETS = 4


class Settings(NamedTuple):
    """Numbers that recipes may differ in and still share a compiled program."""

    meta_learning_rate: jax.Array  # [] float32
    meta_grad_clip: jax.Array  # [] float32, elementwise bound; infinity for none
    learning_rate_scale: jax.Array  # [] float32, multiplies every inner learning rate
    sigma: jax.Array  # [] float32, standard deviation of perturbations at first
    schedule: Schedule


class MetaState(NamedTuple):
    """Everything that meta-training carries from one outer step to the next."""

    meta_params: Tree
    meta_opt_state: Tree
    populations: tuple[Tree, ...]  # one per task, as the estimator has it
    settings: Settings
    step: jax.Array  # [] int32, outer steps taken
    skipped: jax.Array  # [] int32, outer steps skipped for a non-finite meta-gradient
    skipped_in_a_row: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run starts with; none of it is compiled into the program.

    Attributes:
        meta_learning_rate: Learning rate on the meta-parameters.
        meta_grad_clip: Elementwise bound on the meta-gradient; ``None`` for none.
        learning_rate_scale: Multiplies every inner learning rate.
        sigma: Standard deviation of perturbations at first.
        resets: See :func:`l2o.meta.population.make_schedule`.
        reset_interval: Outer steps of one lifetime.
    """

    meta_learning_rate: float
    meta_grad_clip: float | None = None
    learning_rate_scale: float = 1.0
    sigma: float = 0.01
    resets: str = "staggered"
    reset_interval: int = 100

    def settings(self) -> Settings:
        """Return the numbers as arrays."""
        clip = float("inf") if self.meta_grad_clip is None else self.meta_grad_clip
        numbers = (self.meta_learning_rate, clip, self.learning_rate_scale, self.sigma)
        schedule = make_schedule(self.resets, self.reset_interval)
        return Settings(*(jnp.float32(number) for number in numbers), schedule)


@dataclasses.dataclass(frozen=True)
class MetaTrainer:
    """Meta-trains an optimizer on a population per task.

    Attributes:
        optimizer: The learned optimizer.
        loops: The meta-training set: what agents learn, and how.
        estimator: How meta-gradients are made.
        agents: Agents per task.
        meta_optimizer: Optax transformation from a meta-gradient to the step that is subtracted,
            per learning rate.
        task_norm: Rescale each task's meta-gradient to this norm before the mean; ``None``: do not.
        warmup: Outer steps over which the meta learning rate rises to its value.
        decay: Factor on the meta learning rate per outer step.
        sigma_decay: Factor on the perturbations' standard deviation per outer step.
        devices: Devices that share every population.
    """

    optimizer: LearnedOptimizer
    loops: tuple[InnerLoop, ...]
    estimator: Estimator
    agents: int
    meta_optimizer: optax.GradientTransformation
    task_norm: float | None = None
    warmup: int = 0
    decay: float = 1.0
    sigma_decay: float = 1.0
    devices: int = 1

    def init(self, key: jax.Array, settings: Settings, phase: jax.Array) -> MetaState:
        """Return the state before the first outer step.

        Args:
            key: Random key.
            settings: From :meth:`Start.settings`.
            phase: From :meth:`phase`.
        """
        key_meta, *keys = jax.random.split(key, 1 + len(self.loops))
        meta_params = self.optimizer.init_meta(key_meta)
        zero = jnp.zeros((), jnp.int32)
        shared = Shared(meta_params, settings.learning_rate_scale, settings.schedule, zero)
        populations = tuple(
            self.estimator.init(loop, shared, k, phase)
            for loop, k in zip(self.loops, keys, strict=True)
        )
        meta_opt_state = self.meta_optimizer.init(meta_params)
        return MetaState(meta_params, meta_opt_state, populations, settings, zero, zero, zero)

    def phase(self, start: Start) -> jax.Array:
        """Return when in the reset interval each slot of a population is reset."""
        return phases(start.resets, self.estimator.slots(self.agents), start.reset_interval)

    def run(self, state: MetaState, key: jax.Array, steps: int) -> tuple[MetaState, dict]:
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

    def step(self, state: MetaState, key: jax.Array) -> tuple[MetaState, dict]:
        """Take one outer step; a non-finite meta-gradient changes nothing but the counters."""
        settings, step = state.settings, state.step.astype(jnp.float32)
        shared = Shared(
            state.meta_params, settings.learning_rate_scale, settings.schedule, state.step
        )
        sigma = settings.sigma * self.sigma_decay**step
        gradients, populations, metrics = [], [], {}
        for loop, population, k in zip(
            self.loops, state.populations, jax.random.split(key, len(self.loops)), strict=True
        ):
            # One task after the other: in any other order the memory of several is needed at once.
            population, gradients = jax.lax.optimization_barrier((population, gradients))
            seen = self.estimator.estimate(loop, shared, population, k, sigma, self.devices)
            gradients.append(self._rescale(loop.task.weight, seen.gradient))
            populations.append(seen.state)
            metrics |= _metrics(loop, settings.schedule, seen)
        weight = sum(loop.task.weight for loop in self.loops)
        mean = jax.tree.map(lambda *terms: sum(terms) / weight, *gradients)
        state, update_metrics = self._update(state._replace(populations=tuple(populations)), mean)
        return state, metrics | update_metrics

    def _update(self, state: MetaState, gradient: Tree) -> tuple[MetaState, dict]:
        """Update the meta-parameters, unless the meta-gradient is not finite."""
        settings, step = state.settings, state.step.astype(jnp.float32)
        norm = optax.tree.norm(gradient)
        usable = jnp.isfinite(norm)
        bound = settings.meta_grad_clip
        clipped = jax.tree.map(lambda leaf: jnp.clip(leaf, -bound, bound), gradient)
        direction, meta_opt_state = self.meta_optimizer.update(
            clipped, state.meta_opt_state, state.meta_params
        )
        rate = settings.meta_learning_rate * self.decay**step
        rate = rate * jnp.minimum((step + 1) / (self.warmup + 1), 1.0)
        updates = jax.tree.map(lambda leaf: -rate * leaf, direction)
        meta_params, meta_opt_state = jax.tree.map(
            lambda new, old: jnp.where(usable, new, old),
            (optax.apply_updates(state.meta_params, updates), meta_opt_state),
            (state.meta_params, state.meta_opt_state),
        )
        skipped = state.skipped + ~usable
        metrics = {
            "meta_gradient_norm": norm,
            "meta_update_norm": jnp.where(usable, optax.tree.norm(updates), 0.0),
            "meta_learning_rate": rate,
            "skipped_steps": skipped.astype(jnp.float32),
        }
        return state._replace(
            meta_params=meta_params,
            meta_opt_state=meta_opt_state,
            step=state.step + 1,
            skipped=skipped,
            skipped_in_a_row=jnp.where(usable, 0, state.skipped_in_a_row + 1),
        ), metrics

    def _rescale(self, weight: float, gradient: Tree) -> Tree:
        """Weight a task's meta-gradient, after rescaling it to a norm if asked."""
        factor = weight
        if self.task_norm is not None:
            factor = factor * self.task_norm / jnp.maximum(optax.tree.norm(gradient), 1e-12)
        return jax.tree.map(lambda leaf: factor * leaf, gradient)


def _metrics(loop: InnerLoop, schedule: Schedule, seen: Estimate) -> dict[str, jax.Array]:
    """Return what is logged of one task's population, scalars; NaN where there is nothing."""
    statistics = seen.statistics
    total, episodes, age = (statistics[name] for name in ("total", "episodes", "age"))
    bucket = jnp.floor(_AGE_BUCKETS * (age - 1) / (loop.lifetime(schedule) * loop.unroll))
    bucket = jnp.clip(bucket, 0, _AGE_BUCKETS - 1)
    metrics = {
        "return": total.sum() / jnp.maximum(episodes.sum(), 1.0),
        "meta_loss": jnp.nanmean(seen.loss),
        "agent_loss": jnp.mean(statistics["agent_loss"]),
        "agents_excluded": jnp.isnan(seen.loss).sum(dtype=jnp.float32),
        "agents_restarted": seen.restarted.sum(dtype=jnp.float32),
        "mean_age": jnp.mean(age),
    }
    for i in range(_AGE_BUCKETS):
        aged = bucket == i
        value = jnp.sum(total, where=aged) / jnp.sum(episodes, where=aged)
        metrics[f"return_age_{i + 1}_of_{_AGE_BUCKETS}"] = value
    return {f"{loop.task.name}/{name}": value for name, value in metrics.items()}

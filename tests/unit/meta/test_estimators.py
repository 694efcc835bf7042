"""Estimators of the meta-gradient on a problem whose gradient is known in closed form."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.errors import ConfigError
from l2o.meta.estimators import make_estimator
from l2o.meta.estimators.antithetic import shape
from l2o.meta.loops.base import Outcome
from l2o.meta.objectives import OBJECTIVES, get_objective

DECAY, NOW, PAIRS = 0.9, 2.0, 64
META = {"a": jnp.float32(0.3), "b": jnp.array([0.1, -0.2])}
SLOPE = np.array([1.0, -0.5, 2.0])  # of the drive with respect to (a, b)


class Shared(NamedTuple):
    meta_params: dict
    schedule: "Schedule"
    step: jax.Array


class Schedule(NamedTuple):
    interval: jax.Array


class Leaky:
    """A state that leaks, driven by the meta-parameters: what helps now hurts later.

    ``s <- DECAY s + drive``, loss ``s - NOW drive``: one step at a time raising the drive lowers
    the loss, over a lifetime it raises it, as the state builds up to ``1 / (1 - DECAY)`` drives.
    """

    keys = 2

    def fresh(self, shared, keys, phase):
        return {"s": jnp.zeros(len(keys)), "age": jnp.zeros(len(keys), int), "phase": phase}

    def ended(self, shared, agents):
        where = (shared.step % shared.schedule.interval == agents["phase"]) & (shared.step > 0)
        return where, jnp.zeros_like(where)

    def renew(self, shared, agents, where, keys):
        new = self.fresh(shared, keys[:, 0], agents["phase"])
        return jax.tree.map(lambda a, b: jnp.where(where, a, b), new, agents)

    def _train(self, meta, agents):
        drive = SLOPE[0] * meta["a"] + meta["b"] @ SLOPE[1:]
        s = DECAY * agents["s"] + drive
        after = agents | {"s": s, "age": agents["age"] + 1}
        return after, s - NOW * drive

    def lifetime(self, schedule):
        return schedule.interval

    def assess(self, agents, loss):
        return loss

    def measure(self, shared, metas, agents, keys):
        agents, loss = jax.vmap(self._train)(metas, agents)
        names = ("total", "episodes", "age", "agent_loss")
        return agents, Outcome(loss, {name: loss for name in names})

    def differentiate(self, shared, agents, keys):
        agents = jax.lax.stop_gradient(agents)

        def loss(meta, agents):
            after, value = self._train(meta, agents)
            return value, after

        one = jax.value_and_grad(loss, has_aux=True)
        (value, after), gradient = jax.vmap(one, (None, 0))(shared.meta_params, agents)
        return after, Outcome(value, {"total": value}, gradient)


def true_gradient(interval):
    """The gradient of the mean loss over a lifetime."""
    built = [(1 - DECAY**t) / (1 - DECAY) for t in range(1, interval + 1)]
    return (np.mean(built) - NOW) * SLOPE


@functools.cache
def estimates(name, interval, steps, shaping="none"):
    """Gradients ``[steps, 3]`` at fixed meta-parameters, of a population in its steady state."""
    objective = "lifetime_return" if name == "full_es" else "mean_return"
    estimator = make_estimator(name, objective, shaping)
    inner, number = Leaky(), estimator.slots(2 * PAIRS)
    schedule = Schedule(jnp.int32(interval))
    phase = jnp.arange(number) * interval // number

    def step(state, number):
        shared = Shared(META, schedule, number)
        key = jax.random.fold_in(jax.random.key(1), number)
        seen = estimator.estimate(inner, shared, state, key, jnp.float32(0.01), 1)
        return seen.state, jnp.append(seen.gradient["a"], seen.gradient["b"])

    first = estimator.init(inner, Shared(META, schedule, 0), jax.random.key(0), phase)
    warm = 0 if name == "full_es" else interval
    _, gradients = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(warm + steps)))(first)
    return np.asarray(gradients)[warm:]


def mean_and_error(gradients, interval):
    """Mean and standard error; whole lifetimes are blocks, since steps within are dependent."""
    blocks = gradients.reshape(-1, interval, 3).mean(1)
    return blocks.mean(0), blocks.std(0, ddof=1) / np.sqrt(len(blocks))


@pytest.mark.parametrize("name", ["pes", "full_es"])
@pytest.mark.parametrize("interval", [4, 20])
def test_unbiased_under_truncation(name, interval):
    gradients = estimates(name, interval, 60 * interval)
    mean, error = mean_and_error(gradients, interval)
    truth = true_gradient(interval)
    assert (np.abs(mean - truth) < 4 * error).all()
    assert (4 * error < 0.25 * np.abs(true_gradient(20))).all()  # the test can see the bias


@pytest.mark.parametrize("name", ["truncated_es", "truncated_gradient"])
def test_truncation_biases(name, interval=20):
    mean, error = mean_and_error(estimates(name, interval, 60 * interval), interval)
    myopic = (1 - NOW) * SLOPE
    np.testing.assert_allclose(mean, myopic, atol=max(1e-5, 4 * error.max()))
    # Even the sign is wrong.
    assert (np.sign(mean) == -np.sign(true_gradient(interval))).all()


def test_variance():
    """PES pays for its unbiasedness, the more the longer lifetimes are; gradients cost none."""
    cases = [(name, 20) for name in ("truncated_gradient", "truncated_es", "pes", "full_es")]
    deviation = {case: estimates(*case, 1200).std(0).mean() for case in [*cases, ("pes", 4)]}
    assert deviation["truncated_gradient", 20] < 1e-5
    assert deviation["pes", 20] > 2 * deviation["truncated_es", 20]
    assert deviation["pes", 20] > 1.5 * deviation["pes", 4]
    assert deviation["full_es", 20] < deviation["pes", 20]


@pytest.mark.parametrize("name", ["truncated_es", "pes", "full_es"])
@pytest.mark.parametrize("shaping", ["standardise", "ranks"])
def test_shaping_keeps_the_direction(name, shaping, interval=20):
    plain = estimates(name, interval, 1200).mean(0)
    shaped = estimates(name, interval, 1200, shaping).mean(0)
    cosine = plain @ shaped / np.linalg.norm(plain) / np.linalg.norm(shaped)
    assert cosine > 0.9


def test_shapes_of_losses():
    losses = jnp.array([[3.0, 1.0], [jnp.nan, 2.0], [1.0, 7.0]])
    np.testing.assert_allclose(
        shape(losses, "ranks"), np.array([[3, 0.5], [5, 2], [0.5, 4]]) / 5 - 0.5, rtol=1e-5
    )
    standard = np.asarray(shape(losses, "standardise"))
    assert np.nanstd(standard) == pytest.approx(1) and np.isnan(standard[1, 0])
    np.testing.assert_array_equal(shape(losses, "none"), losses)


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [("truncated_gradient", "return"), ("pes", "actor"), ("full_es", "return")],
)
def test_objectives_that_do_not_fit_are_refused(estimator, objective):
    with pytest.raises(ConfigError, match=f"'{estimator}' cannot use objective '{objective}'"):
        get_objective(objective, estimator)
    assert objective in OBJECTIVES

"""PPO agents in populations: the same lifetimes as in evaluation, and the right meta-gradients."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2o.agents.ppo.learning import prepare, run_epochs
from l2o.agents.ppo.lifetime import collect
from l2o.agents.ppo.loss import ppo_loss, ppo_terms
from l2o.config import files
from l2o.config.parsing import read_yaml
from l2o.config.recipe import Recipe
from l2o.evaluation.candidates import Program
from l2o.evaluation.ppo import PPOLifetime
from l2o.meta.build import build_trainer, starting_point
from l2o.meta.estimators import make_estimator
from l2o.meta.estimators.antithetic import antithetic, perturbed, shape
from l2o.meta.held_out import HeldOut
from l2o.meta.loops.base import Shared
from l2o.meta.loops.ppo import PPOLoop
from l2o.meta.objectives import get_objective
from l2o.meta.outer import Start
from l2o.meta.population import make_schedule, phases
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.registry import make_optimizer
from l2o.seeding import key_for
from l2o.tasks.ppo_tasks import make_ppo
from l2o.tasks.presets import preset

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
UNROLL, INTERVAL, RATE = 2, 3, 0.02

# These programs run once: compiling them is all the time there is.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
TINY = {
    "environments": 4,
    "batch_size": 2,
    "minibatches": 2,
    "unroll_length": 8,
    "epochs": 2,
    "policy_layers": (8,),
    "value_layers": (8,),
    "normalize_observations": True,
}


@functools.cache
def agent_of(task, **over):
    return make_ppo(task, dataclasses.replace(preset(task), **TINY, **over))


def loop_of(task, objective, estimator, segment=None, optimizer="optim4rl_b", **traits):
    own = TrainingTask(task, agent_of(task), RATE, **traits)
    goal = get_objective(objective, estimator)
    return PPOLoop(make_optimizer(optimizer), own, UNROLL, goal, 3, segment=segment)


def shared_of(loop, seed=0):
    meta = loop.optimizer.init_meta(jax.random.key(seed))
    keys = jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(meta)))
    leaves, structure = jax.tree.flatten(meta)
    rough = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    meta = jax.tree.unflatten(structure, rough)
    return Shared(meta, jnp.float32(1.0), make_schedule("staggered", INTERVAL), jnp.int32(0))


def both_ways(task, optimizer):
    """Return evaluation returns of pairs in a full-ES population, and those of ``evaluate``."""
    loop = loop_of(task, "evaluation_return", "full_es", optimizer=optimizer)
    shared, pairs = shared_of(loop), 2
    estimator = make_estimator("full_es", "evaluation_return", "none")
    keys = jax.random.split(jax.random.key(3), (pairs, 2))
    size = sum(leaf.size for leaf in jax.tree.leaves(shared.meta_params))
    noise = 0.05 * jax.random.normal(jax.random.key(4), (pairs, size))
    explore = jax.jit(lambda *args: estimator._explore(loop, *args).losses)
    losses = explore(shared, phases("none", pairs, INTERVAL), keys, noise)

    lifetime = PPOLifetime(loop.agent, loop.episodes)
    program = Program(loop.optimizer)
    values = {
        "meta_params": perturbed(shared.meta_params, noise),
        "learning_rate": jnp.full(2 * pairs, RATE, jnp.float32),
    }
    state = lifetime.init(program, values, jnp.repeat(keys[:, 0], 2), UNROLL * INTERVAL)
    _, measured = lifetime.advance(program, values, state, UNROLL * INTERVAL)
    return -np.asarray(losses).ravel(), np.asarray(measured["return"])


@pytest.mark.parametrize(("task", "optimizer"), [("pendulum", "open"), ("cartpole", "optim4rl_b")])
def test_a_lifetime_in_a_full_es_population_is_that_of_evaluation(task, optimizer):
    """Bit for bit, compiled as in use: in a process of its own, without this one's flags."""
    code = f"""
import numpy as np
from tests.unit.meta.test_ppo import both_ways
ours, theirs = both_ways({task!r}, {optimizer!r})
np.testing.assert_array_equal(ours, theirs)
assert np.isfinite(ours).all() and len(np.unique(ours)) > 1, ours
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def textbook(loop, shared, agents):
    """Return the loss of an agent after K iterations and its gradient, by one long derivative."""
    agent, settings = loop.agent, loop.agent.settings
    params, opt_state, actor = agents.params, agents.opt_state, agents.actor.actor
    constant = jax.lax.stop_gradient

    def values(params, normalizer, seen):
        data = prepare(agent, seen.data, normalizer, seen.key)
        packed = (agent.unravel(params), data, agent.networks, settings)
        return (
            ppo_loss(*packed)
            if loop.objective.term == "agent_loss"
            else ppo_terms(*packed)["actor"]
        )

    def lifetime(meta):
        tx = loop.optimizer.transform(meta, RATE)
        state, now, terms = (params, opt_state), actor, []
        for step in range(UNROLL):
            following, seen = collect(agent, constant(state[0]), now)
            if step:
                terms.append(values(state[0], now.normalizer, seen))

            def update(state, gradient, told, step=step):
                progress = jnp.float32(step / (UNROLL * INTERVAL))
                updates, opt_state = tx.update(
                    constant(gradient), state[1], state[0], progress=progress, **constant(told)
                )
                return (state[0] + updates, opt_state), None

            # Minibatches are shuffled alike, whatever takes the gradient.
            state, normalizer, _ = run_epochs(
                agent,
                update,
                state,
                now.normalizer,
                seen.data,
                seen.key,
                loop.optimizer.reads,
                view=constant,
            )
            now = following._replace(normalizer=normalizer)
        _, seen = collect(agent, constant(state[0]), now, unrolls=1)
        last = values(state[0], now.normalizer, seen)
        return (sum(terms) + last) / UNROLL if loop.objective.over == "unroll" else last

    return jax.value_and_grad(lifetime)(shared.meta_params)


@pytest.mark.parametrize(
    ("objective", "segment"),
    [("agent_loss", None), ("actor", 2), ("mean_agent_loss", 4), ("mean_actor", None)],
)
def test_the_meta_gradient_is_the_textbook_one(objective, segment):
    loop = loop_of("pendulum", objective, "truncated_gradient", segment)
    shared = shared_of(loop)

    @jit
    def start(shared):
        keys = jax.random.split(jax.random.key(7), 2)
        return loop.fresh(shared, keys, phases("staggered", 2, INTERVAL))

    agents = start(shared)
    trained, outcome = jit(loop.differentiate)(shared, agents, None)
    expected = jit(jax.vmap(lambda agents: textbook(loop, shared, agents)))(agents)
    losses = expected[0]
    if loop.objective.over == "next":
        np.testing.assert_allclose(outcome.loss, losses, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(
        jax.tree.leaves(outcome.gradient), jax.tree.leaves(expected[1]), strict=True
    ):
        scale = np.abs(theirs).max() + 1e-6
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * scale)
    assert (np.asarray(trained.age) == UNROLL).all()
    assert np.abs(np.asarray(trained.params - agents.params)).max() > 1e-3


@pytest.mark.parametrize("estimator", ["truncated_es", "pes"])
def test_truncated_lifetimes_are_those_of_evaluation_too(estimator):
    """Between resets an agent of truncated estimators lives as any other, on its own key."""
    loop = loop_of("cartpole", "return", estimator)
    shared = shared_of(loop)

    @jit
    def live(shared):
        keys = jax.random.split(jax.random.key(5), 2)
        agents = loop.fresh(shared, keys, phases("none", 2, INTERVAL))
        metas = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), shared.meta_params)
        once, first = loop.measure(shared, metas, agents, None)
        twice, second = loop.measure(shared, metas, once, None)
        return twice, first, second

    agents, first, second = live(shared)
    lifetime = PPOLifetime(loop.agent, 3)
    program = Program(loop.optimizer)
    values = {
        "meta_params": jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), shared.meta_params),
        "learning_rate": jnp.full(2, RATE, jnp.float32),
    }
    keys = jax.random.split(jax.random.key(5), 2)
    state = lifetime.init(program, values, keys, UNROLL * INTERVAL)
    state = lifetime.train(program, values, state, 2 * UNROLL)
    np.testing.assert_allclose(agents.params, state.params, rtol=1e-3, atol=1e-4)
    # Pole balancing pays 1 a step: returns of finished episodes are their lengths.
    steps = 2 * UNROLL * loop.agent.steps_per_update
    for outcome in (first, second):
        total, episodes = (np.asarray(outcome.statistics[n]) for n in ("total", "episodes"))
        assert (total <= steps).all() and episodes.sum() > 0
        returns = np.where(episodes > 0, total / np.maximum(episodes, 1), -np.inf)
        np.testing.assert_allclose(outcome.loss, -returns, rtol=1e-6)
        np.testing.assert_array_equal(outcome.weight, episodes)
    together = np.asarray(first.statistics["total"] + second.statistics["total"])
    left = np.asarray(agents.actor.episode_return).sum(1)
    np.testing.assert_allclose(together + left, steps)


@pytest.mark.parametrize("shaping", ["none", "standardise", "ranks"])
def test_pairs_without_a_loss_are_left_out(shaping):
    directions = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    like, sigma, nothing = jnp.zeros(2), jnp.float32(0.1), jnp.full((3, 2), jnp.inf)
    gradient, usable = antithetic(directions, shape(nothing, shaping), sigma, like)
    assert (np.asarray(gradient) == 0).all()
    assert usable.any() == (shaping == "ranks")  # ranks are all the same
    some = nothing.at[1].set(jnp.array([2.0, 1.0]))
    gradient, _ = antithetic(directions, shape(some, shaping), sigma, like)
    assert np.isfinite(gradient).all() and gradient[1] > 0 and gradient[0] == 0
    diverged = nothing.at[0, 0].set(jnp.nan)
    gradient, _ = antithetic(directions, shape(diverged, "none"), sigma, like)
    assert not np.isfinite(gradient).any()  # such a step is skipped


def test_traits_change_what_an_agent_learns_from_and_not_what_it_is():
    plain = loop_of("pendulum", "return", "pes")
    varied = loop_of(
        "pendulum",
        "return",
        "pes",
        reward_range=3.0,
        parameter_range=4.0,
        rate_range=2.0,
        lifetime=0.34,
    )

    @functools.partial(jit, static_argnums=0)
    def live(loop, shared):
        keys = jax.random.split(jax.random.key(5), 16)
        agents = loop.fresh(shared, keys, phases("none", 16, INTERVAL))
        true = jax.vmap(lambda p, t: loop._view(t)(p))(agents.params, agents.traits)
        _, seen, _, _ = loop._collect(agents)
        return true, agents, seen.data, loop.lifetime(shared.schedule)

    shared = shared_of(plain)
    true, agents, data, lifetime = live(plain, shared)
    same, other, scaled, shorter = live(varied, shared)
    np.testing.assert_allclose(same, true, rtol=1e-6)
    np.testing.assert_allclose(scaled.observation, data.observation, rtol=1e-4, atol=1e-5)
    assert (lifetime, shorter) == (INTERVAL, 1)
    factors = np.asarray(other.traits.reward_scale)
    assert factors.min() >= 1 / 3 and factors.max() <= 3 and factors.std() > 0.1
    rates = np.asarray(other.traits.learning_rate)
    assert rates.min() >= 0.5 and rates.max() <= 2 and rates.std() > 0.1
    assert np.abs(np.corrcoef(factors, rates)[0, 1]) < 0.7
    ratio = np.asarray(other.params / agents.params)
    assert np.nanmin(ratio) >= 0.24 and np.nanmax(ratio) <= 4.1


def test_held_out_tasks_show_the_return_of_the_same_agents_every_time():
    loop = loop_of("pendulum", "evaluation_return", "full_es")
    shared = shared_of(loop)
    shown = HeldOut((loop,), 3)
    settings = Start(0.1, resets="staggered", reset_interval=INTERVAL).settings()
    first = shown.measure(shared.meta_params, settings, 0)
    assert set(first) == {"pendulum/held_out_return", "pendulum/held_out_return_error"}
    assert shown.measure(shared.meta_params, settings, 0) == first
    assert shown.measure(shared_of(loop, 5).meta_params, settings, 0) != first
    assert shown.measure(shared.meta_params, settings, 1) != first

    lifetime = PPOLifetime(loop.agent, loop.episodes)
    program = Program(loop.optimizer)
    values = {
        "meta_params": jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), shared.meta_params),
        "learning_rate": jnp.full(3, RATE, jnp.float32),
    }
    keys = jax.random.split(key_for(0, "held_out", "pendulum"), (2, 3))[0]
    state = lifetime.init(program, values, keys, UNROLL * INTERVAL)
    _, measured = lifetime.advance(program, values, state, UNROLL * INTERVAL)
    mean = np.asarray(measured["return"]).mean()
    assert first["pendulum/held_out_return"] == pytest.approx(mean, rel=1e-3)


SETTINGS = {
    "optimizer": {"name": "tensor_rule"},
    "tasks": [
        {"task": "cartpole", "learning_rate": 0.01},
        {"task": "pendulum", "learning_rate": 0.02},
        {"task": "inverted_pendulum", "learning_rate": 0.01},
    ],
    "ppo": {name: value for name, value in TINY.items() if name != "normalize_observations"}
    | {"episode_length": 12},
    "agents": 4,
    "environments": 1,
    "unroll": 2,
    "outer_steps": 4,
    "resets": "staggered",
    "reset_interval": 2,
    "sigma": 0.2,
    "meta_learning_rate": 0.03,
    "meta_grad_clip": None,
    "log_interval": 2,
    "checkpoint_interval": 2,
    "evaluation_episodes": 2,
}


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        ("truncated_gradient", "agent_loss"),
        ("truncated_es", "mean_agent_loss"),
        ("pes", "return"),
        ("full_es", "evaluation_return"),
    ],
)
def test_every_estimator_trains_on_toy_tasks_and_brax_and_goes_on_from_a_saved_state(
    estimator, objective
):
    recipe = Recipe(**SETTINGS, estimator=estimator, objective=objective)
    trainer, start = build_trainer(recipe), starting_point(recipe)

    @jit
    def init(key):
        return trainer.init(key, start.settings(), trainer.phase(start))

    run, key = jit(trainer.run, static_argnames="steps"), jax.random.key(1)
    state = init(jax.random.key(0))
    once, _ = run(state, key, steps=1)
    twice, metrics = run(once, key, steps=1)
    # What is saved is NumPy arrays and raw keys, as a file holds them.
    saved = jax.tree.map(np.asarray, once)
    again, same = run(saved, key, steps=1)
    for a, b in zip(jax.tree.leaves((again, same)), jax.tree.leaves((twice, metrics)), strict=True):
        np.testing.assert_array_equal(a, b)
    for task in ("cartpole", "pendulum", "inverted_pendulum"):
        assert np.isfinite(metrics[f"{task}/agent_loss"]).all()
    assert int(twice.skipped) == 0 and (metrics["cartpole/return"] > 5).all()
    pairs = zip(jax.tree.leaves(twice.meta_params), jax.tree.leaves(state.meta_params), strict=True)
    moved = [np.abs(a - b).max() for a, b in pairs]
    assert max(moved) > 1e-3 and np.isfinite(moved).all()


def published(name):
    folder = ROOT / "config"
    settings = read_yaml(folder / "config.yaml") | {"scale": "paper"}
    return files.build(settings, folder).recipes[name]


@pytest.mark.parametrize("name", ["optim4rl_b_ant", "optim4rl_b_humanoid"])
def test_meta_training_on_brax_has_the_published_sizes(name):
    recipe = published(name)
    assert recipe.control and recipe.updates(recipe.tasks[0]) * recipe.unroll == 128
    settings = recipe.settings(recipe.tasks[0])
    assert (settings.environments, settings.batch_size, settings.unroll_length) == (2048, 1024, 5)
    assert (settings.discount, settings.gae_lambda, settings.clip) == (0.97, 0.95, 0.3)
    assert settings.policy_layers == (32,) * 4 and settings.value_layers == (64,) * 5
    ours = settings.reward_scale, settings.entropy_weight
    assert ours == {"ant": (10, 1e-2), "humanoid": (0.1, 1e-3)}[recipe.tasks[0].task]


def test_meta_training_on_ant_takes_a_step_at_reduced_size():
    recipe = published("optim4rl_b_ant")
    sizes = {"environments": 4, "batch_size": 2, "minibatches": 2, "epochs": 1}
    small = recipe.ppo.model_copy(update=sizes)
    recipe = recipe.model_copy(update={"ppo": small, "unroll": 1, "segment": 1, "agents": 1})
    trainer, start = build_trainer(recipe), starting_point(recipe)

    @jit
    def step(key):
        state = trainer.init(key, start.settings(), trainer.phase(start))
        return state.meta_params, trainer.run(state, key, steps=1)

    before, (after, metrics) = step(jax.random.key(0))
    assert int(after.skipped) == 0 and np.isfinite(metrics["meta_gradient_norm"]).all()
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after.meta_params), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 1e-6

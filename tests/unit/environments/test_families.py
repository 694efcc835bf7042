"""Families of random gridworlds: how worlds are drawn and work, and which agent gets which."""

import functools
import json
import math
from types import SimpleNamespace

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import DATA

from l2o.environments.families import SPECS, FamilySpec, GridworldFamily
from l2o.environments.gridworld_base import MOVES, register
from l2o.evaluation.candidates import Program
from l2o.evaluation.toy import ToyLifetime
from l2o.meta.loops.base import Shared
from l2o.meta.loops.toy import ToyLoop
from l2o.meta.objectives import get_objective
from l2o.meta.population import make_schedule
from l2o.meta.tasks import TrainingTask
from l2o.optimizers.registry import make_optimizer
from l2o.tasks.registry import TOY_TASKS, list_tasks, make_a2c

STATS = json.loads((DATA / "gridworld_stats.json").read_text())
WORLDS, STEPS = 512, 200

# These programs run once or twice: compiling them is most of the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(env, number, seed=0):
    """Draw worlds; leaves get a leading axis."""
    keys = jax.random.split(jax.random.key(seed), number)
    return jax.device_get(jit(jax.vmap(env.draw_params))(keys))


def play(env, worlds, num_steps, seed=0):
    """Run a uniform random policy in each world; outcomes and states have axes [steps, worlds]."""
    random = np.random.default_rng(seed)
    count = len(worlds.num_open)
    keys = random.integers(2**32, size=(num_steps + 1, count, 2), dtype=np.uint32)
    actions = random.integers(env.num_actions, size=(num_steps, count), dtype=np.int32)

    @jit
    def run(worlds, keys, actions):
        def step(before, inputs):
            outcome = jax.vmap(env.step)(inputs[0], before, inputs[1], worlds)
            obs, after, reward, terminated, truncated, info = outcome
            played = dict(before=before, after=after, reward=reward)
            played |= dict(terminated=terminated, truncated=truncated, info=info, obs=obs)
            return after, played

        first_obs, start = jax.vmap(env.reset)(keys[0], worlds)
        return first_obs, jax.lax.scan(step, start, (keys[1:], actions))[1]

    first_obs, played = jax.device_get(run(worlds, keys, actions))
    return SimpleNamespace(first_obs=first_obs, action=actions, **played)


@functools.cache
def example(name):
    """Return a family, many of its worlds, and a random policy's steps in some of them."""
    env, _ = gymnax.make(name)
    worlds = draw(env, 4096)
    some = jax.tree.map(lambda leaf: leaf[:WORLDS], worlds)
    return env, worlds, some, play(env, some, STEPS)


each_family = pytest.mark.parametrize("name", SPECS)


def assert_mean(values, expected, variance):
    """Check a sum of independent values within 4.5 standard errors."""
    assert abs(np.sum(values - expected)) <= 4.5 * math.sqrt(np.sum(variance))


# Drawing worlds


def assert_range(values, bounds, margin=0.0):
    """Check that values are between bounds, and come close to both."""
    low, high = bounds
    assert values.min() >= low * (1 - 1e-5) and values.max() <= high * (1 + 1e-5)
    assert values.min() <= low + margin * (high - low)
    assert values.max() >= high - margin * (high - low)


@each_family
def test_worlds_are_within_their_ranges(name):
    env, worlds, *_ = example(name)
    spec = env.spec
    assert_range(worlds.shape[:, 0], spec.rows)
    assert_range(worlds.shape[:, 1], spec.cols)
    assert_range(worlds.num_objects, spec.objects)
    assert_range(worlds.max_steps_in_episode, spec.horizon, 0.02)
    median = np.median(worlds.max_steps_in_episode)
    assert median == pytest.approx(math.sqrt(math.prod(spec.horizon)), rel=0.1)
    present = np.arange(env.num_objects) < worlds.num_objects[:, None]
    good = worlds.rewards > 0
    assert good[:, 0].all()
    assert_mean(good[:, 1:][present[:, 1:]], 0.5, np.full(present[:, 1:].sum(), 0.25))
    assert_range(np.abs(worlds.rewards[present]), spec.reward_size, 0.02)
    assert_range(worlds.terminate_probs[present & good], spec.good_terminate_prob, 0.02)
    assert_range(worlds.terminate_probs[present & ~good], spec.bad_terminate_prob, 0.02)
    assert_range(worlds.respawn_probs[present], spec.respawn_prob, 0.02)
    for values in (worlds.rewards, worlds.terminate_probs, worlds.respawn_probs):
        assert (values[~present] == 0).all()
    assert (worlds.reward_scale == 1).all()


@each_family
def test_walls_are_where_one_cannot_stand(name):
    env, worlds, *_ = example(name)
    rows, cols = np.indices(worlds.walls.shape[1:])
    height, width = worlds.shape.T[:, :, None, None]
    inside = (rows >= 1) & (rows <= height) & (cols >= 1) & (cols <= width)
    assert (worlds.walls | inside).all()
    np.testing.assert_array_equal((~worlds.walls).sum((1, 2)), worlds.num_open)
    total = worlds.shape.prod(1)
    assert (2 * worlds.num_open >= total).all() and (worlds.num_open > worlds.num_objects).all()
    share = 1 - worlds.num_open / total
    low, high = env.spec.wall_share
    assert share.min() == low and high - 0.03 <= share.max() <= high
    marked = np.ones_like(worlds.walls)
    for mark, world_open, count in zip(marked, worlds.open_cells, worlds.num_open, strict=True):
        mark[tuple(world_open[:count].T)] = False
    np.testing.assert_array_equal(marked, worlds.walls)
    if high > 0:  # a cell that is inside in every world is a wall as often as any other
        walls = worlds.walls[:, 1:5, 1:5].reshape(-1, 16)
        error = math.sqrt(np.mean(share * (1 - share)) / len(walls))
        assert np.abs(walls.mean(0) - share.mean()).max() < 5 * error


def test_equal_keys_give_equal_worlds():
    env, worlds, *_ = example("gridworld_family")
    keys = jax.random.split(jax.random.key(0), 4096)
    for i in (0, 5):
        alone = jax.device_get(env.draw_params(keys[i]))
        for one, every in zip(jax.tree.leaves(alone), jax.tree.leaves(worlds), strict=True):
            np.testing.assert_allclose(one, every[i], rtol=1e-6)  # pow may depend on batching
    assert len(np.unique(worlds.walls, axis=0)) > 3000  # some have no inner walls
    assert len(np.unique(worlds.rewards, axis=0)) == 4096


def test_a_family_must_have_room():
    with pytest.raises(ValueError, match="do not fit"):
        FamilySpec("crowded", rows=(1, 2), cols=(4, 5))
    with pytest.raises(ValueError, match=r"0\.5"):
        FamilySpec("walled", wall_share=(0.0, 0.7))


# What happens in them


def on_wall(worlds, positions):
    """Return whether positions [steps, worlds, 2] are on walls."""
    return worlds.walls[np.arange(WORLDS), positions[..., 0], positions[..., 1]]


@each_family
def test_moves_are_those_of_a_simulation(name):
    _, _, worlds, played = example(name)
    target = played.before.agent + MOVES[played.action]
    blocked = on_wall(worlds, target)
    expected = np.where(blocked[..., None], played.before.agent, target)
    seen = played.info["final_observation"][:, :, -2]
    at = np.stack(np.nonzero(seen)[2:], 1).reshape(expected.shape) + 1
    np.testing.assert_array_equal(at, expected)
    going_on = ~(played.terminated | played.truncated)
    np.testing.assert_array_equal(played.after.agent[going_on], expected[going_on])
    assert 0.05 < blocked.mean() < 0.9


@each_family
def test_rewards_and_ends_are_those_of_a_simulation(name):
    _, _, worlds, played = example(name)
    target = played.before.agent + MOVES[played.action]
    agent = np.where(on_wall(worlds, target)[..., None], played.before.agent, target)
    collected = (played.before.objects == agent[:, :, None]).all(-1)
    reward = (collected * worlds.rewards).sum(-1)
    np.testing.assert_allclose(played.reward, reward, rtol=1e-5, atol=1e-6)
    assert (reward > 0).any() and (reward < 0).any()

    time = played.before.time + 1
    np.testing.assert_array_equal(played.truncated, time == worlds.max_steps_in_episode)
    ended = played.terminated | played.truncated
    np.testing.assert_array_equal(played.after.time, np.where(ended, 0, time))
    prob = 1 - np.prod(1 - collected * worlds.terminate_probs, -1)
    assert_mean(played.terminated, prob, prob * (1 - prob))
    assert not played.terminated[prob == 0].any()
    assert played.terminated.any() and played.truncated.any()
    np.testing.assert_array_equal(played.info["discount"], 1.0 - played.terminated)
    np.testing.assert_array_equal(played.info["terminated"], played.terminated)
    np.testing.assert_array_equal(played.info["truncated"], played.truncated)


def assert_uniform_cells(worlds, positions, where):
    """Check that positions [steps, worlds, ...] are uniform on the open cells, on average."""
    world = np.nonzero(where)[1]
    places = (worlds.open_cells[world] == positions[where][:, None]).all(-1).argmax(1)
    count = worlds.num_open[world]
    assert (places < count).all()
    assert_mean(places, (count - 1) / 2, (count**2 - 1) / 12)


@each_family
def test_objects_appear_on_open_cells(name):
    env, _, worlds, played = example(name)
    objects = played.after.objects
    there = objects[..., 0] >= 0
    assert ((objects == -1).all(-1) | there).all()
    present = np.arange(env.num_objects) < worlds.num_objects[:, None]
    assert not there[:, ~present].any()
    assert not on_wall(worlds, played.after.agent).any()
    for i in range(env.num_objects):
        assert not on_wall(worlds, objects[:, :, i])[there[:, :, i]].any()

    # Resets: everything there, on distinct cells.
    reset = played.after.time == 0
    everyone = np.concatenate([played.after.agent[:, :, None], objects], axis=2)[reset]
    assert (there[reset] == present[np.nonzero(reset)[1]]).all()
    same = (everyone[:, :, None] == everyone[:, None]).all(-1) & (everyone[:, None, :, 0] >= 0)
    np.testing.assert_array_equal(same.sum(2), everyone[..., 0] >= 0)
    assert_uniform_cells(worlds, played.after.agent, reset)
    for i in range(env.num_objects):
        assert_uniform_cells(worlds, objects[:, :, i], reset & present[:, i])

    # Respawns.
    gone = (played.before.objects[..., 0] < 0) & ~reset[..., None] & present
    prob = np.broadcast_to(worlds.respawn_probs, gone.shape)[gone]
    assert_mean(there[gone], prob, prob * (1 - prob))
    for i in range(env.num_objects):
        assert_uniform_cells(worlds, objects[:, :, i], (gone & there)[..., i])


@each_family
def test_observations_show_objects_agent_and_walls(name):
    env, _, worlds, played = example(name)
    expected = np.zeros_like(played.obs)
    steps, world = np.indices(played.reward.shape)
    for i in range(env.num_objects):
        row, col = np.moveaxis(played.after.objects[:, :, i], -1, 0) - 1
        expected[steps, world, i, row, col] = row >= 0
    row, col = np.moveaxis(played.after.agent, -1, 0) - 1
    expected[steps, world, -2, row, col] = 1
    expected[:, :, -1] = worlds.walls[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(played.obs, expected)
    space = env.observation_space()
    shape = (env.spec.objects[1] + 2, env.spec.rows[1], env.spec.cols[1])
    assert played.obs.shape[2:] == played.first_obs.shape[1:] == space.shape == shape
    assert played.obs.dtype == played.info["final_observation"].dtype == space.dtype
    assert space.contains(jnp.asarray(played.first_obs[0]))
    np.testing.assert_array_equal(played.first_obs[:, -1], worlds.walls[:, 1:-1, 1:-1])


def test_a_family_of_one_is_that_gridworld():
    stats = STATS["small_dense_short"]
    objects = np.float32(stats["objects"]).T
    env = GridworldFamily(FamilySpec("one", (4, 4), (6, 6), (2, 2), (50, 50), (0.0, 0.0)))
    count = 4096
    names = ("rewards", "terminate_probs", "respawn_probs")
    changed = {n: np.tile(row, (count, 1)) for n, row in zip(names, objects, strict=True)}
    played = play(env, draw(env, count).replace(**changed), 50)
    ended = played.terminated | played.truncated
    running = np.cumsum(ended, 0) - ended == 0  # in the first episode
    samples = {"return": (running * played.reward).sum(0), "length": running.sum(0)}
    assert ended.any(0).all()
    for name, sample in samples.items():
        error = math.hypot(stats[name]["se"], stats[name]["std"] / math.sqrt(count))
        assert abs(sample.mean() - stats[name]["mean"]) <= 4.5 * error
        assert sample.std() == pytest.approx(stats[name]["std"], rel=0.05)
    assert np.mean(samples["length"] == 50) == pytest.approx(stats["share_at_limit"], abs=0.04)


# Registration


def test_families_are_tasks():
    before = list(gymnax.registered_envs)
    register(GridworldFamily, SPECS)
    assert gymnax.registered_envs == before
    for names in (before, TOY_TASKS, list_tasks()):
        assert set(SPECS) < set(names)
    for name in SPECS:
        env, world = gymnax.make(name)
        assert env.name == name and env == GridworldFamily(SPECS[name])
        assert hash(env) == hash(GridworldFamily(SPECS[name]))
        assert env.num_actions == env.action_space(world).n == 9
        agent = make_a2c(name, interior=False)
        assert agent.torso == "D32" and agent.env == make_a2c(name, interior=True).env


# Agents


def leaves_equal(a, b):
    """Return for each entry of the leading axis whether two trees are equal there."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return np.all([(x == y).reshape(len(x), -1).all(1) for x, y in jax.device_get(list(pairs))], 0)


def wall_maps(actor):
    return np.asarray(actor.env_params.walls)[:, 1:-1, 1:-1]


def test_agents_of_fixed_environments_carry_no_world():
    agent, key = make_a2c("small_dense_short"), jax.random.key(3)
    actor = agent.init_actor(key, 4)
    assert actor.env_params is None
    expected, _ = jax.vmap(agent.env.reset)(jax.random.split(key, 4))
    np.testing.assert_array_equal(actor.observation, expected)


def test_each_meta_training_agent_has_its_own_world_per_lifetime():
    task = TrainingTask("family", make_a2c("gridworld_family"), 0.01)
    optimizer = make_optimizer("linear")
    loop = ToyLoop(optimizer, task, 2, get_objective("mean_return", "pes"), 3)
    meta_params = optimizer.init_meta(jax.random.key(0))
    shared = Shared(meta_params, jnp.float32(1), make_schedule("none", 4), jnp.int32(0))
    keys = jax.random.split(jax.random.key(1), 3 * 2 * loop.keys).reshape(2, 3, loop.keys)
    each = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), meta_params)

    @jit
    def lives(keys):
        start = loop.fresh(shared, keys[0, :, 0], jnp.full(3, -1))
        trained, outcome = loop.measure(shared, each, start, keys[0])
        renewed = loop.renew(shared, trained, jnp.array([True, False, True]), keys[1])
        return start, trained, renewed, outcome.loss

    start, trained, renewed, loss = lives(keys)
    worlds = start.actor.env_params
    assert len(np.unique(np.asarray(worlds.rewards), axis=0)) == 3
    assert leaves_equal(worlds, trained.actor.env_params).all()
    assert leaves_equal(worlds, renewed.actor.env_params).tolist() == [False, True, False]
    assert np.isfinite(loss).all()
    for agents in (start, trained, renewed):
        seen = np.asarray(agents.actor.observation)[:, :, -1]
        expected = np.broadcast_to(wall_maps(agents.actor)[:, None], seen.shape)
        np.testing.assert_array_equal(seen, expected)


def test_evaluation_seeds_stand_for_worlds():
    lifetime = ToyLifetime(make_a2c("gridworld_family"), 2)
    keys = jax.random.split(jax.random.key(2), 2)[jnp.array([0, 1, 0])]
    values = {"index": jnp.array([0, 0, 1]), "learning_rate": jnp.array([0.1, 0.1, 0.2])}
    program = Program(("adam", "sgd"))
    start = lifetime.init(program, values, keys, 2)
    end, measured = lifetime.advance(program, values, start, 2)
    assert leaves_equal(start.actor.env_params, end.actor.env_params).all()
    first, third = ([leaf[i] for leaf in jax.tree.leaves(start.actor)] for i in (0, 2))
    for one, other in zip(first, third, strict=True):
        np.testing.assert_array_equal(one, other)
    walls = wall_maps(end.actor)
    assert not np.array_equal(walls[0], walls[1])
    seen = np.asarray(end.actor.observation)[:, :, -1]
    np.testing.assert_array_equal(seen, np.broadcast_to(walls[:, None], seen.shape))
    assert measured["episodes"].shape == (3,)

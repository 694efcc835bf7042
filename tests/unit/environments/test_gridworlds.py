"""The gridworlds and gymnax's Catch, against measurements of the environments they reproduce."""

import json
import math

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.wrappers.purerl import FlattenObservationWrapper, LogWrapper
from places import DATA

from l2o.environments.gridworld_base import register
from l2o.environments.gridworlds import SPECS, Gridworld, State

pytestmark = pytest.mark.long

STATS = json.loads((DATA / "gridworld_stats.json").read_text())
GYMNAX_NAMES = {name: name for name in SPECS} | {"catch": "Catch-bsuite"}
ENV = Gridworld(SPECS["small_dense_short"])
PARAMS = ENV.default_params
KEYS = jax.random.split(jax.random.key(7), 20_000)
ABSENT = (-1, -1)
UP, RIGHT, STAY = 1, 2, 0
STEP_OVER_KEYS = jax.jit(jax.vmap(Gridworld.step, (None, 0, None, None, None)), static_argnums=0)


def state(agent, *objects, time=0):
    return State(np.int32(time), np.int32(agent), np.int32(objects))


def steps(start, action, env=ENV, params=None):
    """Take the same step with every key, and give NumPy arrays."""
    params = env.default_params if params is None else params
    return jax.device_get(STEP_OVER_KEYS(env, KEYS, start, action, params))


def assert_share(events, expected):
    """Check the frequency of an event within 4.5 standard errors."""
    events = np.asarray(events)
    error = math.sqrt(expected * (1 - expected) / events.size)
    assert abs(events.mean() - expected) <= 4.5 * error


def assert_uniform(values, count):
    """Check that values are uniform on 0, 1, ..., count - 1, by their chi-square statistic."""
    counts = np.bincount(np.asarray(values).ravel(), minlength=count)
    assert len(counts) == count
    expected = counts.sum() / count
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < count - 1 + 4.5 * math.sqrt(2 * (count - 1))


def free_index(positions, env=ENV):
    """Number the free cells from 0, row by row."""
    row, col = np.moveaxis(np.asarray(positions), -1, 0) - 1
    assert ((row >= 0) & (row < env.spec.rows - 2)).all()
    assert ((col >= 0) & (col < env.spec.cols - 2)).all()
    return row * (env.spec.cols - 2) + col


def num_free(env):
    return (env.spec.rows - 2) * (env.spec.cols - 2)


# Random-policy statistics and shapes, all nine tasks


def first_episodes(name, count, num_steps):
    """Run a uniform random policy; give return and length of each first episode."""
    env, params = gymnax.make(name)
    # Keys and actions come from NumPy, as compiling more hash calls would take most of the time.
    random = np.random.default_rng(1)
    keys = random.integers(2**32, size=(num_steps + 1, count, 2), dtype=np.uint32)
    actions = random.integers(env.num_actions, size=(num_steps, count), dtype=np.int32)

    def step(carry, inputs):
        env_state, running, returns, lengths = carry
        _, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            inputs[0], env_state, inputs[1], params
        )
        returns, lengths = returns + running * reward, lengths + running
        return (env_state, running & ~(terminated | truncated), returns, lengths), None

    @jax.jit
    def run(keys, actions):
        _, env_state = jax.vmap(env.reset, (0, None))(keys[0], params)
        carry = env_state, jnp.ones(count, bool), jnp.zeros(count), jnp.zeros(count, jnp.int32)
        return jax.lax.scan(step, carry, (keys[1:], actions))[0][1:]

    running, returns, lengths = jax.device_get(run(keys, actions))
    assert not running.any()
    return returns, lengths


@pytest.mark.parametrize("name", STATS)
def test_random_policy_has_the_reference_statistics(name):
    stats = STATS[name]
    count = min(32_768, 4_096_000 // stats["max_steps"])
    returns, lengths = first_episodes(GYMNAX_NAMES[name], count, stats["max_steps"])
    for sample, expected in ((returns, stats["return"]), (lengths, stats["length"])):
        error = math.hypot(expected["se"], expected["std"] / math.sqrt(count))
        assert abs(sample.mean() - expected["mean"]) <= 4.5 * error
        assert sample.std() == pytest.approx(expected["std"], rel=0.05)
    share = stats["share_at_limit"]
    error = math.sqrt(share * (1 - share) * (1 / count + 1 / stats["episodes"]))
    assert abs((lengths == stats["max_steps"]).mean() - share) <= 4.5 * error


@pytest.mark.parametrize("name", STATS)
def test_spaces_and_objects_are_those_of_the_reference(name):
    env, params = gymnax.make(GYMNAX_NAMES[name])
    obs, _ = jax.eval_shape(env.reset, jax.random.key(0), params)
    # Gymnax's Catch has no channel axis.
    shape = tuple(STATS[name]["observation_shape"])[: 2 if name == "catch" else 3]
    assert obs.shape == env.observation_space(params).shape == shape
    assert obs.dtype == jnp.float32
    assert env.num_actions == env.action_space(params).n == STATS[name]["num_actions"]
    if name != "catch":
        assert env.name == name
        assert params.max_steps_in_episode == STATS[name]["max_steps"]
        assert env.spec.objects == tuple(map(tuple, STATS[name]["objects"]))


# One step


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        *(((1, 1), action, (1, 1)) for action in (1, 4, 8)),
        ((2, 1), 5, (2, 1)),
        ((2, 1), 8, (2, 1)),
        ((4, 6), 6, (4, 6)),
        ((1, 3), 7, (1, 3)),
        ((2, 2), 5, (3, 1)),
        ((2, 2), 7, (1, 3)),
        ((2, 2), 0, (2, 2)),
        ((2, 2), 1, (1, 2)),
        ((2, 2), 2, (2, 3)),
        ((2, 2), 3, (3, 2)),
        ((2, 2), 4, (2, 1)),
        ((2, 2), 6, (3, 3)),
        ((2, 2), 8, (1, 1)),
    ],
)
def test_a_wall_stops_the_whole_move(start, action, end):
    _, after, reward, terminated, truncated, _ = steps(state(start, (4, 1), (4, 4)), action)
    assert (after.agent == end).all()
    assert not (reward.any() or terminated.any() or truncated.any())


def test_a_good_object_pays_and_respawns_anywhere():
    obs, after, reward, terminated, truncated, _ = steps(state((1, 1), (1, 2), (4, 6)), RIGHT)
    assert (reward == 1).all()
    assert not (terminated | truncated).any()
    assert (after.agent == [1, 2]).all()
    assert (after.objects[:, 1] == [4, 6]).all()
    absent = (after.objects[:, 0] == ABSENT).all(-1)
    assert_share(absent, 0.5)
    assert_uniform(free_index(after.objects[~absent, 0]), 24)
    np.testing.assert_array_equal(obs.sum((2, 3)), np.stack([~absent, absent >= 0, absent >= 0], 1))
    assert (obs[:, 2, 1, 2] == 1).all()
    assert (obs[:, 1, 4, 6] == 1).all()


def test_a_bad_object_costs_and_terminates_half_the_time():
    _, after, reward, terminated, truncated, info = steps(state((1, 1), (4, 6), (1, 2)), RIGHT)
    assert (reward == -1).all()
    assert not truncated.any()
    assert_share(terminated, 0.5)
    np.testing.assert_array_equal(info["discount"], 1.0 - terminated)
    np.testing.assert_array_equal(after.time, 1 - terminated)
    fresh = jax.tree.map(lambda leaf: leaf[terminated], after)
    assert_reset_is_uniform(fresh, ENV)
    # Termination and respawn are independent draws, so the last observation tells nothing of it.
    respawned = info["final_observation"][:, 1].any((1, 2))
    assert_share(respawned[terminated], 0.5)
    assert_share(respawned[~terminated], 0.5)


def test_objects_on_one_cell_are_collected_together():
    _, _, reward, terminated, _, _ = steps(state((1, 1), (1, 2), (1, 2)), RIGHT)
    assert (reward == 0).all()
    assert_share(terminated, 0.5)


@pytest.mark.parametrize("time", [48, 49])
@pytest.mark.parametrize("good", [(4, 1), (1, 2)])
def test_the_time_limit_truncates(time, good):
    start = state((1, 1), good, (4, 6), time=time)
    _, after, reward, terminated, truncated, info = steps(start, RIGHT)
    assert (reward == float(good == (1, 2))).all()
    assert not terminated.any()
    assert (truncated == (time == 49)).all()
    assert (info["discount"] == 1).all()
    assert (after.time == (0 if time == 49 else 49)).all()
    assert (info["final_observation"][:, 2, 1, 2] == 1).all()


def test_termination_and_truncation_can_coincide():
    _, after, _, terminated, truncated, info = steps(state((1, 1), (4, 6), (1, 2), time=49), RIGHT)
    assert truncated.all()
    assert_share(terminated, 0.5)
    assert (after.time == 0).all()
    np.testing.assert_array_equal(info["terminated"], terminated)
    np.testing.assert_array_equal(info["truncated"], truncated)


@pytest.mark.parametrize(
    ("agent", "action", "good", "reward"),
    [((2, 2), STAY, (2, 2), 1.0), ((1, 1), UP, (1, 1), 1.0), ((2, 2), STAY, ABSENT, 0.0)],
)
def test_only_what_lay_under_the_agent_is_collected(agent, action, good, reward):
    _, after, rewards, *_ = steps(state(agent, good, (4, 6)), action)
    assert (rewards == reward).all()
    assert (after.objects[:, 0] == agent).all(-1).any()


@pytest.mark.parametrize(("name", "prob"), [("small_dense_short", 0.5), ("big_sparse_long", 0.05)])
def test_each_absent_object_respawns_with_its_probability(name, prob):
    env = Gridworld(SPECS[name])
    _, after, *_ = steps(state((1, 1), *[ABSENT] * env.num_objects), STAY, env)
    present = after.objects[..., 0] > 0
    for i in range(env.num_objects):
        assert_share(present[:, i], prob)
        assert_share(present[:, i] & present[:, i - 1], prob**2)
        if prob == 0.5:
            assert_uniform(free_index(after.objects[present[:, i], i], env), num_free(env))


def test_parameters_change_without_a_new_environment():
    start = state((1, 1), (1, 2), (1, 2), time=3)
    certain = jnp.ones(2)
    params = PARAMS.replace(
        reward_scale=100.0,
        rewards=jnp.array([1.0, 2.0]),
        terminate_probs=1 - certain,
        respawn_probs=certain,
        max_steps_in_episode=5,
    )
    _, after, reward, terminated, truncated, _ = steps(start, RIGHT, params=params)
    assert (reward == 300).all()
    assert not (terminated | truncated).any()
    assert_uniform(free_index(after.objects), 24)
    always = params.replace(terminate_probs=certain, max_steps_in_episode=4)
    _, _, _, terminated, truncated, _ = steps(start, RIGHT, params=always)
    assert (terminated & truncated).all()


def test_extreme_draws_stay_inside():
    env = Gridworld(SPECS["small_sparse_long"])
    probs = np.float32([0.0, 0.05, 0.3, 0.5, 1.0])
    largest = np.float32(1 - 2**-24)
    draws = np.float32([0.0, largest, *probs[1:-1], *np.nextafter(probs[1:], np.float32(0))])

    def objects_after(draw, terminate_prob, respawn_prob):
        params = env.default_params.replace(
            terminate_probs=jnp.full(2, terminate_prob), respawn_probs=jnp.full(2, respawn_prob)
        )
        start = state((1, 1), ABSENT, ABSENT)
        return env._advance(jnp.full(2, draw), start, STAY, params)[0].objects

    cases = [axis.ravel() for axis in np.meshgrid(draws, probs, probs)]
    objects = jax.device_get(jax.jit(jax.vmap(objects_after))(*cases))
    present = objects[:, :, 0] >= 0
    free_index(objects[present], env)
    assert not present[cases[2] == 0].any()
    assert present[cases[2] == 1].all()
    free_index(env._place(jnp.full(2, largest), env.default_params).objects, env)


# Resets


def assert_reset_is_uniform(states, env):
    """Check that cells are distinct, and each cell and each pair of cells uniform."""
    positions = np.concatenate([states.agent[:, None], states.objects], axis=1)
    cells, total = free_index(positions, env), num_free(env)
    assert (states.time == 0).all()
    count = cells.shape[1]
    for i in range(count):
        assert_uniform(cells[:, i], total)
        for j in range(i):
            offset = (cells[:, i] - cells[:, j]) % total
            assert (offset > 0).all()
            assert_uniform(offset - 1, total - 1)
            if len(cells) > 20 * total**2:
                assert_uniform(cells[:, j] * (total - 1) + offset - 1, total * (total - 1))


@pytest.mark.parametrize("name", ["small_dense_short", "big_dense_long"])
def test_reset_draws_distinct_cells_uniformly(name):
    env, params = gymnax.make(name)
    _, states = jax.jit(jax.vmap(env.reset, (0, None)))(KEYS, params)
    assert_reset_is_uniform(jax.device_get(states), env)


# Plain gymnax code


def test_the_hooks_agree_with_step():
    """Compare the joint counts of termination and respawn cell, as two samples."""
    start = state((1, 1), (4, 6), (1, 2))
    _, _, _, terminated, _, info = steps(start, RIGHT)
    keys = jax.random.split(jax.random.key(8), len(KEYS))
    step_env = jax.jit(jax.vmap(ENV.step_env, (0, None, None, None)))
    obs, after, reward, hook_terminated, hook_info = jax.device_get(
        step_env(keys, start, RIGHT, PARAMS)
    )
    assert (reward == -1).all()
    assert (after.time == 1).all()
    np.testing.assert_array_equal(hook_info["discount"], 1.0 - hook_terminated)

    def counts(observation, ended):
        bad = observation[:, 1].reshape(len(ended), -1)
        cell = np.where(bad.any(-1), bad.argmax(-1), bad.shape[1])
        table = np.bincount(2 * cell + ended, minlength=2 * bad.shape[1] + 2)
        return table[table > 0]

    one, two = counts(info["final_observation"], terminated), counts(obs, hook_terminated)
    assert len(one) == len(two) == 2 * 25
    statistic = ((one - two) ** 2 / (one + two)).sum()
    assert statistic < 49 + 4.5 * math.sqrt(2 * 49)

    _, states = jax.jit(jax.vmap(ENV.reset_env, (0, None)))(keys, PARAMS)
    assert_reset_is_uniform(jax.device_get(states), ENV)


def test_step_is_the_same_alone_under_vmap_and_with_raw_keys():
    def episode_start(key):
        obs, start = ENV.reset(key)
        return obs, ENV.step(key, start, RIGHT)

    keys = jax.random.split(jax.random.key(3), 5)
    batched = jax.tree.leaves(jax.device_get(jax.vmap(episode_start)(keys)))
    for i, key in enumerate([*keys, *jax.random.key_data(keys)]):
        alone = jax.tree.leaves(jax.device_get(episode_start(key)))
        for one, every in zip(alone, batched, strict=True):
            np.testing.assert_array_equal(one, every[i % len(keys)])


def test_wrappers_of_gymnax_log_episodes():
    env, params = gymnax.make("small_dense_short")
    env = LogWrapper(FlattenObservationWrapper(env))
    count, num_steps = 256, 200

    def step(carry, key):
        env_state, returns, lengths = carry
        key_action, key_step = jax.random.split(key)
        actions = jax.vmap(env.action_space(params).sample)(jax.random.split(key_action, count))
        obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key_step, count), env_state, actions, params
        )
        returns, lengths = returns + reward, lengths + 1
        done = info["returned_episode"]
        checks = {
            "done": (done == (terminated | truncated)).all(),
            "returns": ((info["returned_episode_returns"] == returns) | ~done).all(),
            "lengths": ((info["returned_episode_lengths"] == lengths) | ~done).all(),
            "limit": (truncated == (lengths == 50)).all(),
            "shape": jnp.array(obs.shape == info["final_observation"].shape == (count, 144)),
        }
        return (env_state, returns * ~done, lengths * ~done), (checks, terminated, truncated)

    _, env_state = jax.vmap(env.reset, (0, None))(
        jax.random.split(jax.random.key(0), count), params
    )
    carry = env_state, jnp.zeros(count), jnp.zeros(count, jnp.int32)
    keys = jax.random.split(jax.random.key(1), num_steps)
    outputs = jax.lax.scan(step, carry, keys)[1]
    checks, terminated, truncated = jax.device_get(outputs)
    assert {name: bool(passed.all()) for name, passed in checks.items()} == dict.fromkeys(
        checks, True
    )
    assert terminated.any()
    assert truncated.any()


def test_interior_crops_the_border():
    (whole, params), (inner, _) = (
        gymnax.make("small_sparse_short", interior=interior) for interior in (False, True)
    )

    def observations(env, key):
        obs, start = env.reset(key)
        stepped, _, _, _, _, info = env.step(key, start, 6)
        return jnp.stack([obs, stepped, info["final_observation"]])

    both = jax.jit(jax.vmap(lambda key: (observations(whole, key), observations(inner, key))))
    whole_obs, inner_obs = jax.device_get(both(KEYS[:64]))
    np.testing.assert_array_equal(inner_obs, whole_obs[..., 1:-1, 1:-1])
    assert inner_obs.shape[2:] == inner.observation_space(params).shape == (3, 3, 8)
    assert inner.observation_space(params).contains(inner_obs[0, 0])
    assert (inner_obs[:, :, -1].sum((2, 3)) == 1).all()


def test_interior_of_an_absent_object_is_empty():
    inner = Gridworld(SPECS["small_dense_short"], interior=True)
    obs = inner.get_obs(state((4, 6), ABSENT, (1, 1)))
    assert obs.sum((1, 2)).tolist() == [0, 1, 1]
    assert obs[1, 0, 0] == obs[2, 3, 5] == 1


def test_registration_is_idempotent():
    before = list(gymnax.registered_envs)
    register(Gridworld, SPECS)
    assert gymnax.registered_envs == before
    assert [name for name in before if name in SPECS] == list(SPECS)


def test_equal_environments_share_a_compiled_step():
    assert gymnax.make("small_dense_short")[0] == ENV
    assert hash(gymnax.make("small_dense_short")[0]) == hash(ENV)
    assert len({*(Gridworld(spec) for spec in SPECS.values()), Gridworld(ENV.spec, True)}) == 9


# Catch


def test_catch_falls_for_nine_steps():
    env, params = gymnax.make("Catch-bsuite")
    keys = jax.random.split(jax.random.key(0), 9)

    @jax.jit
    @jax.vmap
    def episode(action):
        def step(carry, key):
            _, after, *outcome, info = env.step(key, carry, action, params)
            return after, (after.paddle_x, info["final_observation"], *outcome)

        _, start = env.reset(keys[0], params)
        return jax.lax.scan(step, start.replace(ball_x=jnp.int32(2)), keys)

    after, outcomes = jax.device_get(episode(np.arange(3)))
    paddles, obs, rewards, terminated, truncated = outcomes
    assert (after.time == 0).all()
    assert (rewards[:, :8] == 0).all()
    assert rewards[:, 8].tolist() == [-1, 1, -1]
    assert (terminated == (np.arange(9) == 8)).all()
    assert not truncated.any()
    assert paddles[:, :3].tolist() == [[1, 0, 0], [2, 2, 2], [3, 4, 4]]
    assert (obs[:, :8].sum((2, 3)) == 2).all()
    assert (obs[:, 8, 9] == [[1, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 1]]).all()

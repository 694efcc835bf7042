"""PPO: its loss, its environments, and probe tasks whose values are known."""

import dataclasses
import functools
import subprocess
import sys
from functools import partial
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from brax import envs
from brax.training import types
from brax.training.agents.ppo import losses as brax_losses
from brax.training.agents.ppo import networks as brax_networks
from brax.training.distribution import TanhBijector
from flax import linen as nn
from flax import struct
from gymnax.environments import environment, spaces
from places import ROOT

from l2o.agents.ppo.agent import PPO
from l2o.agents.ppo.learning import learn
from l2o.agents.ppo.lifetime import begin, collect
from l2o.agents.ppo.loss import Rollout, advantages_and_targets, clip_networks, ppo_loss
from l2o.agents.ppo.networks import Categorical, TanhNormal, make_networks, orthogonal
from l2o.agents.vectorize import count_parameters
from l2o.choices import BRAX_TASKS, GYMNAX_TASKS
from l2o.config.ppo import PPOSettings
from l2o.environments.brax import BraxEnv, make_env
from l2o.environments.gymnax_env import GymnaxEnv
from l2o.errors import ConfigError, L2OError
from l2o.tasks.ppo_tasks import make_ppo
from l2o.tasks.presets import PRESETS, preset
from l2o.tasks.registry import list_tasks

pytestmark = pytest.mark.long

SMALL = PPOSettings(
    env_steps=10_000,
    environments=16,
    batch_size=8,
    minibatches=4,
    unroll_length=5,
    epochs=4,
    discount=0.9,
    entropy_weight=0.01,
    reward_scale=1.0,
    learning_rate=5e-3,
    clip=0.2,
    activation="tanh",
    normalize_observations=False,
    policy_layers=(16,),
    value_layers=(16,),
    episode_length=5,
)


def acted(agent, params, env_state, key):
    """Return the environments after one update's steps, and what an agent learns from."""
    env_state, seen = agent.act(params, None, env_state, key)
    return env_state, agent.rollout(params, None, seen)


# Presets


def test_every_task_has_a_preset_that_fits_together():
    assert set(PRESETS) == {*BRAX_TASKS, *GYMNAX_TASKS} <= set(list_tasks())
    for name in PRESETS:
        settings = preset(name)
        assert settings.batch_size * settings.minibatches % settings.environments == 0
        assert settings.unroll_length * settings.action_repeat <= settings.episode_length
    assert preset("reacher").action_repeat == 4
    assert preset("hopper") == preset("walker2d")


def test_the_documented_settings_are_those_in_use():
    text = (ROOT / "docs" / "tasks.md").read_text()
    rows = [
        line.split("|")[1:-1]
        for line in text.partition("## MinAtar")[0].splitlines()
        if line.startswith("| `")
    ]
    assert {row[0].strip(" `") for row in rows} == set(BRAX_TASKS)
    for name, *numbers in rows:
        settings = preset(name.strip(" `"))
        assert [float(number) for number in numbers[:10]] == [
            settings.env_steps,
            settings.environments,
            settings.batch_size,
            settings.minibatches,
            settings.unroll_length,
            settings.epochs,
            settings.discount,
            settings.entropy_weight,
            settings.reward_scale,
            settings.learning_rate,
        ]
    assert all(f"`{name}`" in text for name in GYMNAX_TASKS)


def test_open_settings_make_minibatches_of_1024_steps_in_updates_of_64_x_128():
    agent = make_ppo("minatar_breakout", preset("minatar_breakout"))
    settings = agent.settings
    assert agent.steps_per_update == 64 * 128 and agent.unrolls == 1
    assert settings.batch_size * settings.unroll_length == 1024


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preset("hoper"), "unknown PPO task 'hoper'. Did you mean 'hopper'?"),
        (lambda: make_ppo("cart_pole", SMALL), "Did you mean 'cartpole'?"),
        (lambda: make_ppo("ant", SMALL, "sprung"), "unknown Brax backend 'sprung'. Did you mean"),
        (lambda: make_env("fast", "spring", 10), "unknown Brax task 'fast'."),
        (lambda: cartpole(activation="swoosh").networks, "unknown activation 'swoosh'. Did you"),
        (lambda: cartpole(initializer="zeros").networks, "unknown initializer 'zeros'."),
        (lambda: cartpole(truncation="drop"), "unknown treatment of truncation 'drop'."),
    ],
)
def test_unknown_names(call, message):
    with pytest.raises(L2OError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 7}, "must be a multiple of environments (16)"),
        ({"unroll_length": 6}, "must not exceed episode_length (5)"),
        ({"action_repeat": 2}, "must not exceed episode_length (5)"),
    ],
)
def test_settings_that_do_not_fit_together(changes, message):
    with pytest.raises(ConfigError) as caught:
        cartpole(**changes)
    assert message in str(caught.value)


def cartpole(**changes: Any) -> PPO:
    return make_ppo("cartpole", dataclasses.replace(SMALL, **changes))


def test_gymnax_agents_build_no_brax_environment(monkeypatch):
    monkeypatch.setattr(envs, "get_environment", None)
    assert make_ppo("acrobot", dataclasses.replace(SMALL, clip=0.21)).observation_size == 6


def test_tasks_and_presets_do_not_import_brax():
    code = "import sys, l2o.tasks.registry, l2o.tasks.presets; sys.exit('brax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Loss


def random_rollout(key, time=7, number=6, size=3, actions=2):
    """Return made-up unrolls with terminations and truncations, and the masks."""
    keys = jax.random.split(key, 7)
    draw = partial(jax.random.normal, shape=(time, number))
    ending = jax.random.uniform(keys[0], (time, number))
    truncation = (ending < 0.2).astype(jnp.float32)
    rollout = Rollout(
        observation=jax.random.normal(keys[1], (time, number, size)),
        last_observation=jax.random.normal(keys[2], (number, size)),
        action=jax.random.normal(keys[3], (time, number, actions)),
        log_prob=draw(keys[4]) - 2,
        reward=draw(keys[5]),
        end=(ending > 0.8).astype(jnp.float32),
        truncation=truncation,
    )
    assert truncation.sum() > 2 and rollout.end.sum() > 2
    return rollout


@pytest.mark.parametrize("clip", [0.05, 0.3])
def test_masked_loss_and_gradient_equal_those_of_brax(clip):
    rollout, key = random_rollout(jax.random.key(3)), jax.random.key(4)
    settings = dataclasses.replace(SMALL, clip=clip, truncation="mask", activation="swish")
    networks = make_networks(settings, TanhNormal(2))
    params = networks.init(jax.random.key(5), 3)
    theirs = brax_networks.make_ppo_networks(
        3,
        2,
        policy_hidden_layer_sizes=settings.policy_layers,
        value_hidden_layer_sizes=settings.value_layers,
    )
    rollout = rollout._replace(noise=jax.random.normal(key, rollout.action.shape))
    # Brax's log-probabilities are those of the tangents of raw actions.
    slope = jnp.sum(TanhBijector().forward_log_det_jacobian(rollout.action), axis=-1)
    # Brax has the batch axis first, and knows no last observation but that of the last transition.
    following = jnp.concatenate([rollout.observation[1:], rollout.last_observation[None]])
    transitions = types.Transition(
        observation=rollout.observation,
        action=jnp.tanh(rollout.action),
        reward=rollout.reward,
        discount=1 - rollout.end - rollout.truncation,
        next_observation=following,
        extras={
            "policy_extras": {
                "raw_action": rollout.action,
                "log_prob": rollout.log_prob - slope,
                "distribution_params": networks.logits(params, rollout.observation),
            },
            "state_extras": {"truncation": rollout.truncation},
        },
    )
    transitions = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), transitions)

    def brax_loss(params):
        return brax_losses.compute_ppo_loss(
            brax_losses.PPONetworkParams(params.policy, params.value),
            None,
            transitions,
            key,
            theirs,
            entropy_cost=settings.entropy_weight,
            discounting=settings.discount,
            gae_lambda=settings.gae_lambda,
            clipping_epsilon=clip,
        )[0]

    expected, expected_gradient = jax.jit(jax.value_and_grad(brax_loss))(params)
    actual, gradient = jax.jit(jax.value_and_grad(ppo_loss), static_argnums=(2, 3))(
        params, rollout, networks, settings
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", [False, True])
def test_nothing_leaks_over_the_end_of_an_episode(mask):
    rollout = random_rollout(jax.random.key(3))
    values = jax.random.normal(jax.random.key(6), rollout.reward.shape)
    cut = jnp.zeros_like(rollout.reward).at[3].set(1)
    nothing = jnp.zeros_like(cut)
    rollout = rollout._replace(end=nothing if mask else cut, truncation=cut if mask else None)

    def earlier(reward):
        bootstrap = jnp.zeros(reward.shape[1])
        both = advantages_and_targets(
            rollout._replace(reward=reward), values.at[4:].set(reward[4:]), bootstrap, 0.9, 0.95
        )
        return jnp.stack(both)[:, :4]

    changed = rollout.reward.at[4:].add(10.0)
    np.testing.assert_array_equal(earlier(rollout.reward), earlier(changed))
    last = rollout.reward.at[3].add(1.0)  # counts where it is not left out
    assert np.array_equal(earlier(rollout.reward), earlier(last)) == mask
    assert not np.array_equal(earlier(rollout.reward), earlier(rollout.reward.at[2].add(1.0)))


def test_categorical():
    logits = jnp.array([[0.3, -1.2, 2.0], [5.0, 0.0, 0.0]])
    distribution = Categorical(3)
    probs = np.asarray(jax.nn.softmax(logits))
    every = jnp.stack([distribution.log_prob(logits, jnp.full(2, i)) for i in range(3)], -1)
    np.testing.assert_allclose(jnp.exp(every), probs, rtol=1e-6)
    np.testing.assert_array_equal(distribution.mode(logits), [2, 0])
    entropy = distribution.entropy(logits, None)
    np.testing.assert_allclose(entropy, -(probs * np.log(probs)).sum(-1), rtol=1e-5)


def test_orthogonal_initialisation():
    settings = dataclasses.replace(SMALL, initializer="orthogonal", policy_layers=(16, 16))
    params = make_networks(settings, Categorical(3)).init(jax.random.key(0), 8)

    def gains(network):
        kernels = [layer["kernel"] for layer in network["params"].values()]
        return [np.linalg.svd(kernel, compute_uv=False) for kernel in kernels]

    expected = [2**0.5, 2**0.5, 0.01], [2**0.5, 1.0]
    for network, wanted in zip(params, expected, strict=True):
        for singular, gain in zip(gains(network), wanted, strict=True):
            np.testing.assert_allclose(singular, gain, rtol=1e-4)


@pytest.mark.parametrize("shape", [(8, 16), (16, 16), (64, 3)])
def test_orthogonal_matrices_are_those_of_flax_without_lapack(shape):
    key = jax.random.key(1)
    expected = nn.initializers.orthogonal(2.0)(key, shape)
    np.testing.assert_allclose(orthogonal(key, shape, gain=2.0), expected, atol=1e-5)
    batch = jax.jit(jax.vmap(lambda key: orthogonal(key, shape)))
    assert "lapack" not in batch.lower(jax.random.split(key, 10)).as_text()


def test_gradients_are_clipped_network_by_network():
    agent = cartpole(max_grad_norm=0.5)
    policy = count_parameters(agent.shapes.policy)
    gradient = jax.random.normal(jax.random.key(0), (count_parameters(agent.shapes),))
    gradient = gradient.at[policy:].multiply(1e-3)
    clipped = clip_networks(gradient, policy, agent.settings.max_grad_norm)
    assert np.linalg.norm(clipped[:policy]) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(
        clipped[:policy] / gradient[:policy], 0.5 / np.linalg.norm(gradient[:policy]), rtol=1e-4
    )
    np.testing.assert_array_equal(clipped[policy:], gradient[policy:])
    np.testing.assert_array_equal(clip_networks(gradient, policy, None), gradient)


# Environments


class Walk(envs.Env):
    """A point that actions push; an episode ends beyond 1. Its obs is where it is."""

    observation_size = 1
    action_size = 1
    backend = "none"

    def reset(self, rng):
        x = jax.random.uniform(rng, (1,), minval=-1.0)
        return envs.State(x, x, jnp.zeros(()), jnp.zeros(()), {"push": jnp.zeros(())})

    def step(self, state, action):
        x = state.pipeline_state + 0.5 * action
        state.metrics.update(push=action[0])
        done = (jnp.abs(x[0]) > 1).astype(jnp.float32)
        return state.replace(pipeline_state=x, obs=x, reward=x[0], done=done)


def walk_steps(env, reset_state, read, steps=40):
    """Return what ``read`` sees of a walk pushed by the same actions."""
    actions = jax.random.uniform(jax.random.key(1), (steps, 32, 1), minval=-1.0)
    return jax.lax.scan(
        lambda state, action: ((now := env.step(state, action)), read(now)), reset_state, actions
    )[1]


def test_brax_episodes_are_those_of_brax():
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 32))
    theirs, ours = envs.training.wrap(Walk(), 9), BraxEnv(Walk(), 9)
    expected = walk_steps(
        theirs,
        jax.jit(theirs.reset)(keys),
        lambda state: (state.obs, state.reward, state.done, state.info["truncation"]),
    )
    actual = walk_steps(
        ours,
        ours.reset(keys),
        lambda state: (state.obs, state.reward, state.done, state.truncation),
    )
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert 0 < actual[3].sum() < actual[2].sum()


def test_the_terminal_observation_is_kept():
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 32))
    env = BraxEnv(Walk(), 9)
    seen = walk_steps(env, env.reset(keys), lambda s: (s.terminal_obs, s.obs, s.reward, s.done))
    terminal, obs, reward, done = map(np.asarray, seen)
    np.testing.assert_array_equal(terminal[..., 0], reward)  # the reward is where it got to
    assert (terminal[done == 0] == obs[done == 0]).all()
    assert (terminal[done == 1] != obs[done == 1]).all()


def test_repeated_brax_actions():
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 32))
    once, thrice = BraxEnv(Walk(), 100), BraxEnv(Walk(), 100, action_repeat=3)
    action = jax.random.uniform(jax.random.key(1), (32, 1), minval=-1.0)
    state, alive, reward = once.reset(keys), jnp.ones(32), jnp.zeros(32)
    for _ in range(3):
        state = once.step(state, action)
        reward, alive = reward + alive * state.reward, alive * (1 - state.done)
    together = thrice.step(thrice.reset(keys), action)
    np.testing.assert_allclose(together.reward, reward, rtol=1e-6)
    np.testing.assert_array_equal(together.done, 1 - alive)
    assert 0 < together.done.sum() < 32
    np.testing.assert_array_equal(together.steps, 3 * alive)


def test_repeated_actions_count_as_environment_steps():
    agent = cartpole(action_repeat=2, episode_length=10)
    assert agent.steps_per_update == 2 * cartpole().steps_per_update
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 8))
    state, action = agent.env.reset(keys), jnp.zeros(8, jnp.int32)
    state = agent.env.step(state, action)
    np.testing.assert_array_equal(state.steps, 2)
    np.testing.assert_array_equal(state.reward, 2.0)


def test_gymnax_episodes_start_afresh():
    agent = cartpole(episode_length=12)
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 8))

    def step(state, key):
        state = agent.env.step(state, jax.random.randint(key, (8,), 0, 2))
        return state, state

    start = agent.env.reset(keys)
    _, seen = jax.lax.scan(step, start, jax.random.split(jax.random.key(1), 60))
    done, truncation = np.asarray(seen.done), np.asarray(seen.truncation)
    starts = np.concatenate([start.obs, np.asarray(seen.obs)[done > 0]])
    assert len(starts) > 8 * 4 and len(np.unique(starts, axis=0)) == len(starts)
    assert (np.abs(starts) <= 0.05).all()
    fallen = np.abs(np.asarray(seen.terminal_obs)[..., 2]) > 12 * 2 * np.pi / 360
    np.testing.assert_array_equal(done > truncation, fallen)
    assert truncation.sum() > 0 and fallen.sum() > 0
    np.testing.assert_array_equal(np.asarray(seen.steps)[done > 0], 0)


CONTINUOUS = {"mountaincar_continuous", "pendulum", "point_robot", "two_link_reacher"}


@pytest.mark.parametrize("name", sorted(GYMNAX_TASKS))
def test_every_gymnax_task_fits_an_agent(name):
    agent = make_ppo(name, preset(name))
    state = jax.eval_shape(agent.init_envs, jax.random.key(0))
    params = jax.eval_shape(agent.init_params, jax.random.key(0))
    after, data = jax.eval_shape(functools.partial(acted, agent), params, state, jax.random.key(0))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert data.reward.size == 128 * 64 and data.observation.shape[2] == agent.observation_size
    assert agent.env.discrete == (name not in CONTINUOUS)
    if name.startswith("ppo_gridworld_family"):
        limit = agent.env.env.spec.horizon[1]
    else:
        limit = agent.env.env_params.max_steps_in_episode
    assert agent.settings.episode_length == limit


@pytest.mark.parametrize("name", sorted(CONTINUOUS))
def test_actions_are_scaled_to_the_bounds_of_the_environment(name):
    agent = make_ppo(name, preset(name))
    space = agent.env.env.action_space(agent.env.env_params)
    low, high = (np.broadcast_to(x, space.shape) for x in (space.low, space.high))
    state = agent.env.reset(jax.random.key_data(jax.random.split(jax.random.key(0), 3)))
    inner, keys, _ = state.inner

    @jax.jit
    def both(share):
        ours = agent.env.step(state, jnp.broadcast_to(share, (3, *space.shape)))
        keys_now = jax.vmap(lambda key: jax.random.split(key, 3))(jax.random.wrap_key_data(keys))
        action = jnp.broadcast_to(
            low + (jnp.clip(share, -1, 1) + 1) / 2 * (high - low), (3, low.size)
        )
        theirs = jax.vmap(agent.env.env.step_env, (0, 0, 0, None))(
            keys_now[:, 0], inner, action, agent.env.env_params
        )
        return ours.obs, ours.reward, theirs[0].reshape(3, -1), theirs[2]

    for share in (-1.0, -0.25, 0.0, 0.5, 1.0, 3.0):
        obs, reward, expected, gain = both(share)
        np.testing.assert_allclose(obs, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(reward, gain, rtol=1e-5)
    assert not np.array_equal(both(-1.0)[0], both(1.0)[0])


def test_every_agent_of_a_family_has_a_world_that_stays():
    agent = make_ppo("ppo_gridworld_family", preset("ppo_gridworld_family"))

    @jax.jit
    @jax.vmap
    def live(key):
        params, actor = begin(agent, key)
        first, data = collect(agent, params, actor)
        same, _ = begin(agent, key)
        key = jax.random.key(7)
        returns = agent.evaluate(params, None, key, 4, world=actor.world)[0]
        return actor.world, first.env_state.inner[2], data.transitions, returns, same - params

    world, after, seen, returns, difference = live(jax.random.split(jax.random.key(0), 5))
    assert (np.asarray(difference) == 0).all() and np.isfinite(returns).all()
    for leaf, later in zip(jax.tree.leaves(world), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(leaf, later)
    assert len(np.unique(np.asarray(world.rewards), axis=0)) == 5
    # Walls are the last map of an observation, the same in all steps of an agent.
    maps = np.asarray(seen.observation).reshape(5, -1, 6, 8, 8)[:, :, -1]
    for own, walls in zip(maps, np.asarray(world.walls)[:, 1:-1, 1:-1], strict=True):
        np.testing.assert_array_equal(own, np.broadcast_to(walls, own.shape))
    # Its own time limit, where no object ends an episode first.
    ends = np.asarray(seen.done).sum((1, 2))
    assert (ends[np.asarray(world.max_steps_in_episode) < 32] > 0).all()


class Unbounded(gymnax.environments.classic_control.pendulum.Pendulum):
    def action_space(self, params=None):
        return gymnax.environments.spaces.Box(-np.inf, np.inf, (1,))


class Pictures(Unbounded):
    def action_space(self, params=None):
        return gymnax.environments.spaces.Box(-1.0, 1.0, (2, 2))


@pytest.mark.parametrize("kind", [Unbounded, Pictures])
def test_other_actions_are_refused(kind):
    with pytest.raises(ConfigError, match="discrete actions or a vector of bounded ones"):
        GymnaxEnv(kind(), kind().default_params, 10)


@pytest.mark.slow
def test_minatar_trains():
    settings = dataclasses.replace(
        preset("minatar_breakout"), environments=4, batch_size=2, minibatches=2, unroll_length=16
    )
    agent = make_ppo("minatar_breakout", settings)

    @jax.jit
    def update(key):
        params = agent.init_params(key)
        _, data = acted(agent, params, agent.init_envs(key), key)
        loss = ppo_loss(agent.unravel(params), data, agent.networks, settings)
        tx = optax.with_extra_args_support(optax.adam(1e-3))
        return loss, params, learn(agent, tx, params, tx.init(params), None, data, key)[0]

    loss, before, after = update(jax.random.key(0))
    assert np.isfinite(loss) and np.isfinite(after).all() and not np.array_equal(before, after)


def test_random_returns():
    agent = cartpole(episode_length=500)
    params, yes = agent.init_params(jax.random.key(0)), jnp.bool_(True)
    play = jax.jit(lambda key: agent.evaluate(params, None, key, 512, yes)[0])
    returns = np.asarray(play(jax.random.key(0)))
    assert returns.shape == (512,) and returns.dtype == np.float32
    # Uniformly random pushes keep the pole up for 22.2 steps on average (standard deviation 11.8).
    assert returns.mean() == pytest.approx(22.2, abs=4 * 11.8 / 512**0.5)
    np.testing.assert_array_equal(returns, play(jax.random.key(0)))
    assert not np.array_equal(returns, play(jax.random.key(1)))


# Probes: tasks so small that values and the best policy are known

KINDS = (
    "constant",  # one step, reward 1
    "observation",  # one step, reward -1 or 1, which the observation tells
    "two_steps",  # reward 1 on the second of two steps
    "action",  # one step, reward for action 1
    "both",  # one step, reward for the action that the observation asks for
    "truncated",  # reward 1 on every step of five, then the time limit
    "terminated",  # the same, but the episode ends by itself
)


@struct.dataclass
class ProbeState(environment.EnvState):
    time: jax.Array
    sign: jax.Array


@struct.dataclass
class ProbeParams(environment.EnvParams):
    kind: jax.Array | int = 0


class Probe(environment.Environment[ProbeState, ProbeParams]):
    """All probes in one environment, so that one program trains an agent on each."""

    num_actions = 2

    def reset_env(self, key, params):
        state = ProbeState(jnp.int32(0), jax.random.rademacher(key, (), jnp.float32))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state, action, params):
        right = (action == 1).astype(jnp.float32)
        asked = (right == (state.sign > 0)).astype(jnp.float32)
        second = (state.time == 1).astype(jnp.float32)
        reward = jnp.array([1.0, state.sign, second, right, asked, 1.0, 1.0])[params.kind]
        length = jnp.array([1, 1, 2, 1, 1, 1000, 5])[params.kind]
        state = state.replace(time=state.time + 1)
        return self.observe(key, state, action, params), state, reward, state.time >= length, {}

    def observe(self, key, state, action, params):
        return probe_observation(params.kind, state.time, state.sign)

    def observation_space(self, params):
        return spaces.Box(-1, 1, (6,))

    def action_space(self, params=None):
        return spaces.Discrete(2)


def probe_observation(kind, time, sign):
    """Return the sign where it matters, and the time where the value depends on it."""
    has_sign = jnp.array([0, 1, 0, 0, 1, 0, 0])[kind]
    has_time = jnp.array([0, 0, 1, 0, 0, 0, 1])[kind]
    clock = has_time * jax.nn.one_hot(time, 5)
    return jnp.concatenate([clock, jnp.array([has_sign * sign])])


class Trained:
    """An agent per probe, after 150 updates."""

    @staticmethod
    @jax.jit
    def train(kinds, key):
        def one(kind):
            agent = PPO(GymnaxEnv(Probe(), ProbeParams(kind=kind), 5), SMALL)
            tx = optax.with_extra_args_support(optax.adam(SMALL.learning_rate))

            def update(carry, key):
                params, opt_state, state = carry
                keys = jax.random.split(key)
                state, data = acted(agent, params, state, keys[0])
                params, opt_state, _ = learn(agent, tx, params, opt_state, None, data, keys[1])
                return (params, opt_state, state), data.reward

            keys = jax.random.split(key, 3)
            params = agent.init_params(keys[0])
            carry = (params, tx.init(params), agent.init_envs(keys[1]))
            (params, *_), rewards = jax.lax.scan(update, carry, jax.random.split(keys[2], 150))
            return params, rewards[-1]

        return jax.vmap(one)(kinds)

    def __init__(self):
        self.params, self.rewards = self.train(jnp.arange(len(KINDS)), jax.random.key(0))
        self.agent = PPO(GymnaxEnv(Probe(), ProbeParams(), 5), SMALL)

    def outputs(self, name, time=0, sign=1.0):
        """Return the value estimate and the probability of action 1."""
        kind = KINDS.index(name)
        params, networks = self.agent.unravel(self.params[kind]), self.agent.networks
        obs = probe_observation(kind, time, sign)
        return (
            float(networks.values(params, obs)),
            float(jax.nn.softmax(networks.logits(params, obs))[1]),
        )


@pytest.fixture(scope="module")
def trained():
    return Trained()


class TestProbes:
    def test_constant_reward(self, trained):
        assert trained.outputs("constant")[0] == pytest.approx(1, abs=0.02)

    def test_the_value_depends_on_the_observation(self, trained):
        for sign in (-1.0, 1.0):
            assert trained.outputs("observation", sign=sign)[0] == pytest.approx(sign, abs=0.05)

    def test_credit_over_two_steps(self, trained):
        assert trained.outputs("two_steps", 0)[0] == pytest.approx(SMALL.discount, abs=0.03)
        assert trained.outputs("two_steps", 1)[0] == pytest.approx(1, abs=0.03)

    def test_the_policy_takes_the_rewarded_action(self, trained):
        value, right = trained.outputs("action")
        assert right > 0.95 and value == pytest.approx(1, abs=0.1)

    def test_the_policy_depends_on_the_observation(self, trained):
        assert trained.outputs("both", sign=1.0)[1] > 0.95
        assert trained.outputs("both", sign=-1.0)[1] < 0.05

    def test_truncation_is_bootstrapped(self, trained):
        value, _ = trained.outputs("truncated")
        assert value == pytest.approx(1 / (1 - SMALL.discount), rel=0.1)
        # The last reward before the limit holds the value of going on.
        rewards = np.asarray(trained.rewards[KINDS.index("truncated")])
        np.testing.assert_array_equal(rewards[:-1], 1)
        np.testing.assert_allclose(rewards[-1], 1 + SMALL.discount * value, rtol=0.05)

    def test_termination_is_not(self, trained):
        for time in range(5):
            expected = sum(SMALL.discount**step for step in range(5 - time))
            assert trained.outputs("terminated", time)[0] == pytest.approx(expected, rel=0.05)

    def test_equal_keys_give_equal_agents(self, trained):
        kinds = jnp.arange(len(KINDS))
        again, _ = Trained.train(kinds, jax.random.key(0))
        np.testing.assert_array_equal(again, trained.params)
        other, _ = Trained.train(kinds, jax.random.key(1))
        assert (np.asarray(other) != np.asarray(again)).any(axis=1).all()


def test_rollouts_are_float32_under_64_bits():
    with jax.enable_x64(True):
        agent = make_ppo("cartpole", dataclasses.replace(preset("cartpole"), environments=4))
        key = jax.random.key(0)
        data = jax.eval_shape(
            lambda key: acted(agent, agent.init_params(key), agent.init_envs(key), key)[1],
            key,
        )
    kinds = {leaf.dtype for leaf in jax.tree.leaves(data) if jnp.issubdtype(leaf, jnp.floating)}
    assert kinds == {jnp.dtype(jnp.float32)}

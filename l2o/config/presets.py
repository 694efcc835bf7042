"""PPO settings of every task that PPO learns. Imports no jax."""

import dataclasses

from l2o.choices import BROKEN_TASKS, GRIDWORLDS
from l2o.config.ppo import PPOBudget, PPOSettings
from l2o.errors import look_up

_PENDULUM = PPOSettings(20_000_000, 2048, 1024, 5, 4, 0.97, 1e-2, 10.0, 3e-4)
_WALKER = PPOSettings(50_000_000, 2048, 512, 20, 8, 0.997, 1e-3, 5.0, 3e-5)
_CHEETAH = PPOSettings(50_000_000, 2048, 512, 20, 8, 0.95, 1e-3, 1.0, 3e-4)

PUBLISHED: dict[str, PPOSettings] = {
    "ant": PPOSettings(100_000_000, 4096, 2048, 5, 4, 0.97, 1e-2, 10.0, 3e-4),
    "humanoid": PPOSettings(100_000_000, 2048, 1024, 10, 8, 0.97, 1e-3, 0.1, 3e-4),
    "walker2d": _WALKER,
    "inverted_double_pendulum": _PENDULUM,
}
"""Settings of the Optim4RL paper."""

BRAX_PRESETS: dict[str, PPOSettings] = PUBLISHED | {
    "inverted_pendulum": _PENDULUM,  # not in the paper; has its double's
    # Brax's own presets.
    "halfcheetah": _CHEETAH,
    "humanoidstandup": PPOSettings(100_000_000, 2048, 1024, 15, 8, 0.97, 1e-2, 0.1, 6e-4),
    "pusher": PPOSettings(50_000_000, 2048, 512, 30, 8, 0.95, 1e-2, 5.0, 3e-4, minibatches=16),
    "reacher": PPOSettings(50_000_000, 2048, 256, 50, 8, 0.95, 1e-3, 5.0, 3e-4, action_repeat=4),
    # Nobody publishes PPO settings for it, Brax has an SAC preset. It borrows those of the most
    # similar body.
    "hopper": _WALKER,
}

_OPEN = PPOSettings(
    env_steps=10_000_000,
    environments=64,
    batch_size=8,  # unrolls of 128 steps: 64 environments in 8 minibatches
    minibatches=8,
    unroll_length=128,
    epochs=4,
    discount=0.99,
    entropy_weight=0.01,
    reward_scale=1.0,
    learning_rate=3e-4,  # to be tuned: OPEN tunes Adam for every game
    clip=0.2,
    max_grad_norm=0.5,
    activation="relu",
    initializer="orthogonal",
    normalize_observations=False,
    deterministic_evaluation=False,  # OPEN scores the returns of training episodes
    policy_layers=(64, 64),
    value_layers=(64, 64),
)


_CLASSIC = dataclasses.replace(_OPEN, env_steps=500_000, episode_length=500)
# Episodes are too short for 128 steps: as many, in more unrolls.
_GRIDWORLD = dataclasses.replace(_CLASSIC, batch_size=32, unroll_length=32)
_CONTINUOUS = dataclasses.replace(
    _CLASSIC, batch_size=16, unroll_length=64, activation="tanh", entropy_weight=1e-3
)


_LIMITS = {"short": 50, "long": 500, "family": 500, "small": 60}  # by the last word of a name


GYMNAX_PRESETS: dict[str, PPOSettings] = {
    "minatar_asterix": _OPEN,
    "minatar_breakout": _OPEN,  # OPEN's code has 5e5 steps here, its reported return belongs to 1e7
    "minatar_freeway": dataclasses.replace(_OPEN, episode_length=2500),
    "minatar_seaquest": _OPEN,
    "minatar_spaceinvaders": _OPEN,
    "acrobot": _CLASSIC,
    "cartpole": _CLASSIC,
    "mountaincar": dataclasses.replace(_CLASSIC, episode_length=200),
    "mountaincar_continuous": dataclasses.replace(
        _CONTINUOUS, episode_length=999, reward_scale=0.1
    ),
    "pendulum": dataclasses.replace(_CONTINUOUS, episode_length=200, reward_scale=0.1),
    "point_robot": dataclasses.replace(_CONTINUOUS, episode_length=100),
    "two_link_reacher": dataclasses.replace(_CONTINUOUS, episode_length=100),
    "ppo_catch": dataclasses.replace(_GRIDWORLD, episode_length=1000),
} | {
    f"ppo_{name}": dataclasses.replace(_GRIDWORLD, episode_length=_LIMITS[name.rpartition("_")[2]])
    for name in GRIDWORLDS
}
"""OPEN's settings, time limits of gymnax.

Differences to OPEN: minibatches are made of whole unrolls, with advantages from the current value
estimates as in Brax, where OPEN shuffles single steps and estimates advantages once per update;
advantages have Brax's form; the value loss is not clipped; truncated episodes are bootstrapped.
"""

PRESETS: dict[str, PPOSettings] = BRAX_PRESETS | GYMNAX_PRESETS


def preset(name: str) -> PPOSettings:
    """Return the PPO settings of a task.

    Raises:
        L2OError: No settings are known for that name; the message gives the nearest valid one.
    """
    return look_up("PPO task", name, PRESETS, BROKEN_TASKS)


def resolve(name: str, over: PPOBudget) -> PPOSettings:
    """Return the PPO settings of a task with what a configuration replaces; see :func:`preset`."""
    return dataclasses.replace(preset(name), **over.replacements())

"""PPO settings of every task that PPO learns. Imports no jax."""

import dataclasses

from l2o.choices import BROKEN_TASKS
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


def _classic(episode_length: int) -> PPOSettings:
    return dataclasses.replace(_OPEN, env_steps=500_000, episode_length=episode_length)


GYMNAX_PRESETS: dict[str, PPOSettings] = {
    "minatar_asterix": _OPEN,
    "minatar_breakout": _OPEN,  # OPEN's code has 5e5 steps here, its reported return belongs to 1e7
    "minatar_freeway": dataclasses.replace(_OPEN, episode_length=2500),
    "minatar_seaquest": _OPEN,
    "minatar_spaceinvaders": _OPEN,
    "acrobot": _classic(500),
    "cartpole": _classic(500),
    "mountaincar": _classic(200),
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

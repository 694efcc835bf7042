"""Brax tasks: environments with time limit and automatic reset, and the published PPO settings."""

import dataclasses
import functools

from l2o.tasks import quiet_brax  # noqa: F401

# isort: split
from brax import envs

from l2o.errors import unknown_name

BACKENDS = ("spring", "generalized", "positional", "mjx")


@dataclasses.dataclass(frozen=True)
class PPOSettings:
    """PPO hyperparameters of one task; defaults are shared by the published settings.

    Attributes:
        env_steps: Environment steps of a lifetime.
        environments: Parallel environments.
        batch_size: Unrolls per minibatch.
        minibatches: Minibatches per epoch.
        unroll_length: Environment steps per unroll.
        epochs: Passes over each batch.
        discount: Discount factor.
        entropy_weight: Weight of the entropy bonus.
        reward_scale: Multiplies the rewards.
        gae_lambda: Lambda of generalised advantage estimation.
        clip: Bound on the probability ratio.
        learning_rate: Published learning rate of Adam.
        policy_layers: Hidden sizes of the policy network.
        value_layers: Hidden sizes of the value network.
        episode_length: Steps until an episode is truncated.
    """

    env_steps: int
    environments: int
    batch_size: int
    unroll_length: int
    epochs: int
    discount: float
    entropy_weight: float
    reward_scale: float
    learning_rate: float
    minibatches: int = 32
    gae_lambda: float = 0.95
    clip: float = 0.3
    policy_layers: tuple[int, ...] = (32,) * 4
    value_layers: tuple[int, ...] = (256,) * 5
    episode_length: int = 1000


PUBLISHED: dict[str, PPOSettings] = {
    "ant": PPOSettings(100_000_000, 4096, 2048, 5, 4, 0.97, 1e-2, 10.0, 3e-4),
    "humanoid": PPOSettings(100_000_000, 2048, 1024, 10, 8, 0.97, 1e-3, 0.1, 3e-4),
    "walker2d": PPOSettings(50_000_000, 2048, 512, 20, 8, 0.997, 1e-3, 5.0, 3e-5),
    "inverted_double_pendulum": PPOSettings(20_000_000, 2048, 1024, 5, 4, 0.97, 1e-2, 10.0, 3e-4),
    "inverted_pendulum": PPOSettings(20_000_000, 2048, 1024, 5, 4, 0.97, 1e-2, 10.0, 3e-4),
}
"""The paper's settings; ``inverted_pendulum``, not in the paper, has its double's."""


def published_settings(name: str) -> PPOSettings:
    """Return the published PPO settings of a task.

    Raises:
        L2OError: No settings are known for that name.
    """
    if name not in PUBLISHED:
        raise unknown_name("Brax task", name, PUBLISHED)
    return PUBLISHED[name]


@functools.lru_cache
def make_env(name: str, backend: str, episode_length: int) -> envs.Env:
    """Return a batched Brax environment with a time limit and automatic reset.

    Args:
        name: A Brax environment.
        backend: One of ``BACKENDS``.
        episode_length: Steps until an episode is truncated.
    """
    if backend not in BACKENDS:
        raise unknown_name("Brax backend", backend, BACKENDS)
    return envs.training.wrap(envs.get_environment(name, backend=backend), episode_length)

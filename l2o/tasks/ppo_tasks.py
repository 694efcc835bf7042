"""PPO agents of every task that PPO learns. Brax is imported for all, built only for its own."""

import functools

from l2o.agents.ppo.agent import PPO
from l2o.choices import BRAX_TASKS, BROKEN_TASKS, GYMNAX_TASKS, PPO_TASKS
from l2o.config.ppo import PPOSettings
from l2o.errors import unknown_name


@functools.lru_cache
def make_ppo(name: str, settings: PPOSettings, backend: str = "spring") -> PPO:
    """Build the PPO agent of a task; equal arguments give the same agent, compiled once.

    Args:
        name: A Brax or gymnax task.
        settings: Hyperparameters, for instance :func:`l2o.tasks.presets.preset`'s.
        backend: Brax's physics; gymnax tasks have none.

    Raises:
        L2OError: A name is unknown; the message gives the nearest valid one.
        ConfigError: The settings do not fit together.
    """
    if name in GYMNAX_TASKS:
        import gymnax

        from l2o.environments import families, gridworlds  # noqa: F401  (registers families)
        from l2o.environments.gymnax_env import GymnaxEnv

        options = {"interior": True} if GYMNAX_TASKS[name] in gridworlds.SPECS else {}
        env, env_params = gymnax.make(GYMNAX_TASKS[name], **options)
        return PPO(
            GymnaxEnv(env, env_params, settings.episode_length, settings.action_repeat), settings
        )
    if name not in BRAX_TASKS:
        raise unknown_name("PPO task", name, PPO_TASKS, BROKEN_TASKS)
    from l2o.environments.brax import make_env

    return PPO(make_env(name, backend, settings.episode_length, settings.action_repeat), settings)

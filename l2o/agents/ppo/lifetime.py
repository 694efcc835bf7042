"""How one PPO agent lives: it begins, collects, learns and is evaluated, always on the same keys.

Evaluation and meta-training train their agents with these functions alone, so that an optimizer
sees the same lifetime in both.
"""

from typing import Any, NamedTuple

import jax

from l2o.agents.ppo.agent import PPO
from l2o.agents.ppo.loss import Rollout, Transitions

Tree = Any


class PPOActor(NamedTuple):
    """What an agent is beside its parameters and its optimizer."""

    normalizer: Tree  # observation statistics; None if none are kept
    env_state: Tree  # of its environments
    world: Tree  # what these have in common, if it was drawn; else None
    key: jax.Array  # uint32, [2]: raw, of what comes next


class Collected(NamedTuple):
    """What an agent learns from in one update."""

    data: Rollout
    transitions: Transitions
    key: jax.Array  # typed, to learn with


def begin(agent: PPO, key: jax.Array) -> tuple[jax.Array, PPOActor]:
    """Return a new agent: flat parameters ``[P]``, and the rest. Equal keys give equal agents."""
    key_params, key_env, key = jax.random.split(key, 3)
    world = agent.env.draw_world(jax.random.fold_in(key_env, 1))
    actor = PPOActor(
        agent.init_normalizer(), agent.init_envs(key_env, world), world, jax.random.key_data(key)
    )
    return agent.init_params(key_params), actor


def collect(
    agent: PPO,
    params: jax.Array,
    actor: PPOActor,
    unrolls: int | None = None,
    reward_scale: jax.Array | float = 1.0,
) -> tuple[PPOActor, Collected]:
    """Let an agent act.

    Args:
        agent: The algorithm and its environment.
        params: Flat parameters ``[P]``.
        actor: The rest of the agent.
        unrolls: Of every environment; by default those of an update.
        reward_scale: Multiplies the rewards that it learns from, beside that of the settings.
    """
    now, key_learn, following = jax.random.split(jax.random.wrap_key_data(actor.key), 3)
    env_state, transitions = agent.act(params, actor.normalizer, actor.env_state, now, unrolls)
    # Brax leaves weak types behind, which would compile a second program for the next update.
    env_state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), env_state)
    data = agent.rollout(params, actor.normalizer, transitions, reward_scale)
    actor = actor._replace(env_state=env_state, key=jax.random.key_data(following))
    return actor, Collected(data, transitions, key_learn)


def evaluate(
    agent: PPO,
    params: jax.Array,
    actor: PPOActor,
    update: jax.Array,
    episodes: int,
    random: jax.Array | None = None,
) -> jax.Array:
    """Play evaluation episodes, always the same ones after an update; return their mean return.

    Args:
        agent: The algorithm and its environment.
        params: Flat parameters ``[P]``.
        actor: The rest of the agent.
        update: Updates so far, int32 scalar.
        episodes: How many.
        random: Bool scalar: act at random instead; see :meth:`PPO.evaluate`.

    Returns:
        float32 scalar.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(actor.key), 1)
    key = jax.random.fold_in(key, update)
    returns, _ = agent.evaluate(params, actor.normalizer, key, episodes, random, actor.world)
    return returns.mean()

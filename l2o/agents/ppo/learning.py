"""How a PPO agent learns from what it has collected, with any optimizer."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
from brax.training.acme import running_statistics

from l2o.agents.ppo.agent import PPO
from l2o.agents.ppo.loss import Rollout, clip_networks, ppo_loss
from l2o.agents.vectorize import count_parameters
from l2o.seeding import noise_key

Tree = Any


def learn(
    agent: PPO,
    tx: Any,
    params: jax.Array,
    opt_state: Tree,
    normalizer: Tree,
    data: Rollout,
    key: jax.Array,
    progress: jax.Array | float = 0.0,
    reads: Collection[str] = (),
) -> tuple[jax.Array, Tree, Tree]:
    """Let an agent learn with an optax optimizer.

    Args:
        agent: The algorithm.
        tx: Any optax transformation with extra-args support; it gets the flat gradient, the loss
            as ``value``, ``progress``, and what it ``reads``.
        params: Flat parameters ``[P]``.
        opt_state: Its state.
        normalizer: Observation statistics.
        data: From :func:`l2o.agents.ppo.lifetime.collect`.
        key: Random key.
        progress: Share of training that is over.
        reads: What else it is given; see ``LearnedOptimizer.reads``.

    Returns:
        Parameters, optimizer state, statistics.
    """

    def update(state: tuple, gradient: jax.Array, told: dict[str, Any]) -> tuple[tuple, None]:
        params, opt_state = state
        updates, opt_state = tx.update(gradient, opt_state, params, progress=progress, **told)
        return (params + updates, opt_state), None

    (params, opt_state), normalizer, _ = run_epochs(
        agent, update, (params, opt_state), normalizer, data, key, reads
    )
    return params, opt_state, normalizer


def run_epochs(
    agent: PPO,
    update: Callable[[tuple, jax.Array, dict[str, Any]], tuple[tuple, Tree]],
    state: tuple,
    normalizer: Tree,
    data: Rollout,
    key: jax.Array,
    reads: Collection[str] = (),
    view: Callable[[jax.Array], jax.Array] = lambda params: params,
) -> tuple[tuple, Tree, Tree]:
    """Update observation statistics, then parameters over several epochs of minibatches.

    Args:
        agent: The algorithm.
        update: Function of a state, the flat gradient ``[P]`` and what an optimizer is told
            (``value``, and what it ``reads``), to the next state and an output.
        state: Flat parameters as the optimizer sees them, ``[P]``, and anything else.
        normalizer: Observation statistics.
        data: From :func:`l2o.agents.ppo.lifetime.collect`.
        key: Random key.
        reads: See ``LearnedOptimizer.reads``.
        view: Function from these to the agent's own parameters, whose gradient is taken.

    Returns:
        The state, statistics, and outputs, leaves ``[epochs, minibatches, ...]``.
    """
    if normalizer is not None:
        normalizer = running_statistics.update(normalizer, data.observation)
    key_noise, key = jax.random.split(key)
    data = prepare(agent, data, normalizer, key_noise)

    policy_size = count_parameters(agent.shapes.policy)

    def loss(params: jax.Array, batch: Rollout) -> jax.Array:
        return ppo_loss(agent.unravel(params), batch, agent.networks, agent.settings)

    def minibatch(state: tuple, now: tuple) -> tuple[tuple, Tree]:
        chosen, given = now
        batch, params = data.take(chosen), view(state[0])
        value, gradient = jax.value_and_grad(loss)(params, batch)
        gradient = clip_networks(gradient, policy_size, agent.settings.max_grad_norm)
        if "activations" in reads:
            units = agent.networks.activations(agent.unravel(params), batch.observation)
            given = given | {"activations": units}
        return update(state, gradient, {"value": value} | given)

    def epoch(state: tuple, now: tuple) -> tuple[tuple, Tree]:
        key, given = now
        order = jax.random.permutation(key, data.last_observation.shape[0])
        chosen = order.reshape(agent.settings.minibatches, -1)
        return jax.lax.scan(minibatch, state, (chosen, given))

    epochs = jax.random.split(key, agent.settings.epochs), _given(agent, reads, key)
    state, outputs = jax.lax.scan(epoch, state, epochs)
    return state, normalizer, outputs


def prepare(agent: PPO, data: Rollout, normalizer: Tree, key: jax.Array) -> Rollout:
    """Return a rollout as the loss sees it: normalised, with noise for the entropy."""
    return data._replace(
        observation=agent.normalize(data.observation, normalizer),
        last_observation=agent.normalize(data.last_observation, normalizer),
        # Drawn once for all epochs: for every minibatch it would be a fifth of the work.
        noise=agent.networks.distribution.noise(key, data.reward.shape),
    )


def _given(agent: PPO, reads: Collection[str], key: jax.Array) -> dict[str, jax.Array]:
    """Return what an optimizer reads beside the batch, leaves ``[epochs, minibatches]``."""
    shape = agent.settings.epochs, agent.settings.minibatches
    given = {}
    if "batch_progress" in reads:
        share = jnp.arange(shape[0], dtype=jnp.float32) / max(shape[0] - 1, 1)
        given["batch_progress"] = jnp.broadcast_to(share[:, None], shape)
    if "key" in reads:
        given["key"] = jax.random.split(noise_key(key), shape)
    return given

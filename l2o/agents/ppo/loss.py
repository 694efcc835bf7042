"""PPO's loss (Schulman et al. 2017, arXiv 1707.06347), with the details of Brax's.

A time limit ends an episode without ending the task. Either the discounted value of the
observation it cut off is already in the last reward (:class:`Rollout` without ``truncation``), or
the loss leaves truncated steps out (with it), which is what ``brax.training`` does.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2o.agents.ppo.networks import PPONetworks, PPOParams
from l2o.config.ppo import PPOSettings


class Transitions(NamedTuple):
    """What happened in ``N`` unrolls of ``T`` steps, as the environments gave it."""

    observation: jax.Array  # [T, N, O] float32
    action: jax.Array  # [T, N] int32 or [T, N, A] float32, raw
    log_prob: jax.Array  # [T, N] float32
    reward: jax.Array  # [T, N] float32
    done: jax.Array  # [T, N] float32, 1 where an episode ended
    truncation: jax.Array  # [T, N] float32, 1 where the time limit alone ended it
    last_observation: jax.Array  # [N, O] float32, after the last step
    cut_off: jax.Array  # [N, O] float32, what the time limit cut off, if it did


class Rollout(NamedTuple):
    """``N`` unrolls of ``T`` steps; ``O`` is the length of an observation."""

    observation: jax.Array  # [T, N, O] float32, normalised
    last_observation: jax.Array  # [N, O] float32, after the last step, normalised
    action: jax.Array  # [T, N] int32 or [T, N, A] float32, raw
    log_prob: jax.Array  # [T, N] float32, of the policy that acted
    reward: jax.Array  # [T, N] float32, scaled
    end: jax.Array  # [T, N] float32, 1 where nothing is to be expected after the step
    truncation: jax.Array | None = None  # [T, N] float32, 1 where the step is left out
    noise: jax.Array | None = None  # of the entropy's estimate

    def take(self, chosen: jax.Array) -> "Rollout":
        """Return the unrolls of these numbers, int32 ``[n]``."""
        last = self.last_observation[chosen]
        rest = self._replace(last_observation=None)
        return jax.tree.map(lambda x: x[:, chosen], rest)._replace(last_observation=last)


def advantages_and_targets(
    rollout: Rollout,
    values: jax.Array,
    bootstrap: jax.Array,
    discount: float,
    gae_lambda: float,
) -> tuple[jax.Array, jax.Array]:
    """Return advantages and value targets by generalised advantage estimation.

    The target is the lambda-return G; the advantage is r + discount G' - V with the lambda-return
    of the next step, as in Brax (the textbook's, G - V, has one more factor of lambda).

    Args:
        rollout: What happened.
        values: Value estimates ``[T, N]``.
        bootstrap: Value estimates of the last observations ``[N]``.
        discount: Discount factor.
        gae_lambda: Lambda.

    Returns:
        Both ``[T, N]`` float32.
    """
    discounts = discount * (1 - rollout.end)
    kept = None if rollout.truncation is None else 1 - rollout.truncation
    following = jnp.concatenate([values[1:], bootstrap[None]])
    deltas = rollout.reward + discounts * following - values
    decays = discounts * gae_lambda
    if kept is not None:
        deltas, decays = deltas * kept, decays * kept

    def backward(total: jax.Array, step: tuple) -> tuple[jax.Array, jax.Array]:
        delta, decay = step
        total = delta + decay * total
        return total, total

    # Unrolled: a step is far less work than an iteration of a compiled loop.
    _, excess = jax.lax.scan(
        backward, jnp.zeros_like(bootstrap), (deltas, decays), reverse=True, unroll=16
    )
    targets = values + excess
    advantages = (
        rollout.reward + discounts * jnp.concatenate([targets[1:], bootstrap[None]]) - values
    )
    return (advantages if kept is None else advantages * kept), targets


def ppo_loss(
    params: PPOParams,
    rollout: Rollout,
    networks: PPONetworks,
    settings: PPOSettings,
) -> jax.Array:
    """Return the loss of a minibatch, float32 scalar; see :func:`ppo_terms` for the arguments."""
    terms = ppo_terms(params, rollout, networks, settings)
    return (
        settings.value_weight * terms["critic"]
        + terms["actor"]
        - settings.entropy_weight * terms["entropy"]
    )


def ppo_terms(
    params: PPOParams,
    rollout: Rollout,
    networks: PPONetworks,
    settings: PPOSettings,
) -> dict[str, jax.Array]:
    """Return the terms of the loss of a minibatch, float32 scalars.

    Args:
        params: Of both networks.
        rollout: The minibatch.
        networks: The networks.
        settings: Coefficients.

    Returns:
        ``actor`` (the clipped surrogate, negative), ``critic`` (half the mean squared value error)
        and ``entropy``.
    """
    logits = networks.logits(params, rollout.observation)
    values = networks.values(params, rollout.observation)
    fixed = jax.lax.stop_gradient(params)
    advantages, targets = advantages_and_targets(
        rollout,
        jax.lax.stop_gradient(values),
        networks.values(fixed, rollout.last_observation),
        settings.discount,
        settings.gae_lambda,
    )
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    distribution = networks.distribution
    ratio = jnp.exp(distribution.log_prob(logits, rollout.action) - rollout.log_prob)
    clipped = jnp.clip(ratio, 1 - settings.clip, 1 + settings.clip)
    surrogate = jnp.mean(jnp.minimum(ratio * advantages, clipped * advantages))
    value_error = 0.5 * jnp.mean(jnp.square(targets - values))
    entropy = jnp.mean(distribution.entropy(logits, rollout.noise))
    return {"actor": -surrogate, "critic": value_error, "entropy": entropy}


def clip_networks(gradient: jax.Array, policy_size: int, largest: float | None) -> jax.Array:
    """Scale either network's part of a flat gradient down to the largest norm allowed.

    Args:
        gradient: ``[P]``, the policy's parameters first.
        policy_size: How many those are.
        largest: Global norm; none leaves the gradient alone.
    """
    if largest is None:
        return gradient

    def scaled(part: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(part)
        return part * jnp.minimum(1.0, largest / (norm + 1e-6))

    return jnp.concatenate([scaled(gradient[:policy_size]), scaled(gradient[policy_size:])])

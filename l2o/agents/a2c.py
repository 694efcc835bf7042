"""A2C for discrete gymnax environments, as pure functions of parameters."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from l2o.agents.networks import ActorCritic, init_lecun, unit_activations
from l2o.agents.vectorize import unravel_like

if TYPE_CHECKING:
    from gymnax.environments.environment import Environment

Tree = Any


class Batch(NamedTuple):
    """One rollout of ``T`` steps in ``E`` environments."""

    observation: jax.Array  # [T, E, *obs] float32
    action: jax.Array  # [T, E] int32
    reward: jax.Array  # [T, E] float32
    termination: jax.Array  # [T, E] float32, 1 where the episode ended by itself
    truncation: jax.Array  # [T, E] float32, 1 where the time limit ended it
    last_observation: jax.Array  # [E, *obs] float32


class ActorState(NamedTuple):
    """The environments an agent acts in, between rollouts."""

    env_state: Tree
    observation: jax.Array  # [E, *obs] float32
    episode_return: jax.Array  # [E] float32, of the running episodes
    env_params: Tree = None  # of all E environments, if drawn for this agent


class Returns(NamedTuple):
    """Episodes that finished within a rollout."""

    total: jax.Array  # [] float32, sum of their undiscounted returns
    episodes: jax.Array  # [] float32, how many


@dataclasses.dataclass(frozen=True)
class A2CHyperparameters:
    """A2C settings; defaults are those of the Optim4RL paper's toy agents.

    Attributes:
        rollout_steps: Environment steps per update and environment.
        discount: Discount factor.
        gae_lambda: Lambda of the lambda-returns (targets and advantages).
        critic_weight: Weight of the squared value error.
        entropy_weight: Weight of the entropy bonus.
        timeout_terminates: Treat a time-out as a termination, as published; ``False`` keeps them
            apart and leaves the truncated step, whose successor is not seen, out of the loss.
    """

    rollout_steps: int = 20
    discount: float = 0.995
    gae_lambda: float = 0.95
    critic_weight: float = 0.5
    entropy_weight: float = 0.01
    timeout_terminates: bool = True


@dataclasses.dataclass(frozen=True, eq=False)  # environments are compared by identity
class A2C:
    """An A2C agent on one environment.

    Attributes:
        env: A gymnax environment with discrete actions.
        env_params: Its parameters; if it has ``draw_params``, every actor draws its own instead.
        torso: See :class:`ActorCritic`.
        hyperparameters: See :class:`A2CHyperparameters`.
    """

    env: "Environment"
    env_params: Any
    torso: str = "D32"
    hyperparameters: A2CHyperparameters = A2CHyperparameters()

    @functools.cached_property
    def network(self) -> ActorCritic:
        """The actor-critic network."""
        shape = self.env.observation_space(self.env_params).shape
        return ActorCritic(self.env.num_actions, self.torso, len(shape))

    @functools.cached_property
    def shapes(self) -> Tree:
        """Shapes and dtypes of the parameters."""
        space = self.env.observation_space(self.env_params)
        observation = jax.ShapeDtypeStruct(space.shape, jnp.float32)
        return jax.eval_shape(self.network.init, jax.random.key(0), observation)["params"]

    def unravel(self, flat: jax.Array) -> Tree:
        """Turn a flat parameter vector ``[P]`` (leaves in tree order) into the parameter tree."""
        return unravel_like(self.shapes, flat)

    def init_params(self, key: jax.Array) -> Tree:
        """Return fresh agent parameters."""
        return init_lecun(key, self.shapes)

    def init_actor(self, key: jax.Array, environments: int) -> ActorState:
        """Reset ``environments`` environments, in a world of their own if it can be drawn."""
        env_params, drawn = self.env_params, None
        if hasattr(self.env, "draw_params"):
            key, key_world = jax.random.split(key)
            env_params = drawn = self.env.draw_params(key_world)
        keys = jax.random.split(key, environments)
        observation, env_state = jax.vmap(self.env.reset, (0, None))(keys, env_params)
        return ActorState(env_state, _float(observation), jnp.zeros(environments), drawn)

    def rollout(
        self, params: Tree, actor: ActorState, key: jax.Array
    ) -> tuple[ActorState, Batch, Returns]:
        """Act for ``rollout_steps`` steps in every environment.

        Args:
            params: Agent parameters.
            actor: The environments, ``E`` of them.
            key: Random key.

        Returns:
            The environments after the rollout, the batch, and finished episodes.
        """
        environments = actor.episode_return.shape[0]
        drawn = actor.env_params
        env_params = self.env_params if drawn is None else drawn

        def step(actor: ActorState, keys: jax.Array) -> tuple[ActorState, tuple]:
            logits, _ = self.network.apply({"params": params}, actor.observation)
            action = sample_action(keys[0], logits)
            observation, env_state, reward, terminated, truncated, _ = jax.vmap(
                self.env.step, (0, 0, 0, None)
            )(keys[1:], actor.env_state, action, env_params)
            done = terminated | truncated
            episode_return = actor.episode_return + reward
            finished = Returns(jnp.sum(episode_return * done), jnp.sum(done, dtype=jnp.float32))
            data = (actor.observation, action, reward, terminated, truncated & ~terminated)
            following = ActorState(env_state, _float(observation), episode_return * ~done, drawn)
            return following, (data, finished)

        # All keys from one flat call of the hash function: short inner axes are slow to compile.
        steps = self.hyperparameters.rollout_steps
        keys = jax.random.split(key, steps * (1 + environments)).reshape(steps, 1 + environments)
        actor, (data, finished) = jax.lax.scan(step, actor, keys)
        observation, action, reward, terminated, truncated = data
        batch = Batch(
            observation,
            action,
            _float(reward),
            _float(terminated),
            _float(truncated),
            actor.observation,
        )
        return actor, batch, jax.tree.map(jnp.sum, finished)

    def loss(
        self, params: Tree, batch: Batch, reward_scale: float | jax.Array = 1.0
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the agent loss and its terms (scalars): ``actor``, ``critic``, ``entropy``.

        Args:
            params: Agent parameters.
            batch: A rollout.
            reward_scale: Multiplies the rewards.
        """
        hyper = self.hyperparameters
        logits, values = self.network.apply({"params": params}, batch.observation)
        _, bootstrap = self.network.apply({"params": params}, batch.last_observation)
        ended = batch.termination
        left_out = batch.truncation
        if hyper.timeout_terminates:
            ended, left_out = ended + left_out, jnp.zeros_like(left_out)
        targets = lambda_returns(
            batch.reward * reward_scale,
            hyper.discount * (1.0 - ended),
            jax.lax.stop_gradient(values),
            jax.lax.stop_gradient(bootstrap),
            hyper.gae_lambda,
            left_out,
        )
        log_probs = jax.nn.log_softmax(logits)
        taken = jnp.sum(log_probs * jax.nn.one_hot(batch.action, logits.shape[-1]), axis=-1)
        advantage = targets - jax.lax.stop_gradient(values)
        actor = -jnp.mean(advantage * taken)
        critic = jnp.mean(jnp.square(targets - values))
        entropy = -jnp.mean(jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1))
        total = actor + hyper.critic_weight * critic - hyper.entropy_weight * entropy
        return total, {"actor": actor, "critic": critic, "entropy": entropy}

    def activations(self, params: Tree, batch: Batch) -> Tree:
        """Return how active every unit is on a batch; see :func:`unit_activations`.

        Args:
            params: Agent parameters.
            batch: A rollout.
        """
        heads = ("actor", "critic")
        return unit_activations(self.network, params, batch.observation, jax.nn.relu, heads)


def sample_action(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Sample from a categorical by inverting its distribution function.

    One random number per sample, where the Gumbel trick needs one per category: hashing for random
    numbers is a large part of a cheap environment's step.

    Args:
        key: Random key.
        logits: ``[..., actions]``.

    Returns:
        Action indices, ``[...]`` int32.
    """
    cumulative = jnp.cumsum(jax.nn.softmax(logits), axis=-1)
    u = jax.random.uniform(key, (*logits.shape[:-1], 1)) * cumulative[..., -1:]
    return jnp.sum(cumulative[..., :-1] <= u, axis=-1, dtype=jnp.int32)


def lambda_returns(
    rewards: jax.Array,
    discounts: jax.Array,
    values: jax.Array,
    bootstrap: jax.Array,
    lambda_: float,
    left_out: jax.Array,
) -> jax.Array:
    """Return lambda-returns; equal to ``brax.training``'s ``compute_gae`` targets.

    Written out because importing Brax takes several seconds, in every job on a toy task.

    Args:
        rewards: ``[T, ...]``.
        discounts: ``[T, ...]``, 0 where the episode terminated.
        values: Value estimates ``[T, ...]``.
        bootstrap: Value estimate after the last step ``[...]``.
        lambda_: Mix between one-step (0) and Monte-Carlo (1) returns.
        left_out: ``[T, ...]``, 1 where the next value is unknown: there the return is the value.
    """
    following = jnp.concatenate([values[1:], bootstrap[None]])
    kept = 1.0 - left_out
    deltas = (rewards + discounts * following - values) * kept

    def backward(advantage: jax.Array, step: tuple) -> tuple[jax.Array, jax.Array]:
        delta, decay = step
        advantage = delta + decay * advantage
        return advantage, advantage

    decays = discounts * kept * lambda_
    _, advantages = jax.lax.scan(
        backward, jnp.zeros_like(bootstrap), (deltas, decays), reverse=True
    )
    return values + advantages


def _float(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)

"""A classifier with the interface of A2C agents: supervised learning as a task like any other."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from l2o.agents.a2c import A2C, ActorState, Batch, Returns
from l2o.agents.networks import init_lecun, unit_activations
from l2o.agents.vectorize import unravel_like

Tree = Any


@dataclasses.dataclass(frozen=True)
class ClassifierHyperparameters:
    """What of A2C's hyperparameters applies to a classifier.

    Attributes:
        rollout_steps: Batches per update.
    """

    rollout_steps: int = 1


@dataclasses.dataclass(frozen=True, eq=False)  # data are compared by identity
class Classifier:
    """A network with one hidden ReLU layer that learns to classify images.

    In place of a rollout it draws examples; ``environments`` is the number of them in a batch. In a
    :class:`Batch` the observations are images and the actions their classes. The return is the
    accuracy on as many held-out examples, so that learning curves mean what they do elsewhere.

    Attributes:
        images: ``[examples, features]`` float32.
        labels: ``[examples]`` int32.
        held_out: Examples at the end that are never learned from.
        hidden: Units of the hidden layer.
        hyperparameters: See :class:`ClassifierHyperparameters`.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: int
    hidden: int = 32
    hyperparameters: ClassifierHyperparameters = ClassifierHyperparameters()

    @functools.cached_property
    def network(self) -> nn.Module:
        """The network."""
        classes = int(self.labels.max()) + 1
        return nn.Sequential([nn.Dense(self.hidden), nn.relu, nn.Dense(classes)])

    @functools.cached_property
    def shapes(self) -> Tree:
        """Shapes and dtypes of the parameters."""
        image = jax.ShapeDtypeStruct(self.images.shape[1:], jnp.float32)
        return jax.eval_shape(self.network.init, jax.random.key(0), image)["params"]

    def unravel(self, flat: jax.Array) -> Tree:
        """Turn a flat parameter vector ``[P]`` (leaves in tree order) into the parameter tree."""
        return unravel_like(self.shapes, flat)

    def init_params(self, key: jax.Array) -> Tree:
        """Return fresh parameters."""
        return init_lecun(key, self.shapes)

    def init_actor(self, key: jax.Array, environments: int) -> ActorState:
        """Return a place for a batch of so many examples."""
        del key
        observation = jnp.zeros((environments, self.images.shape[1]))
        return ActorState((), observation, jnp.zeros(environments))

    def rollout(
        self, params: Tree, actor: ActorState, key: jax.Array
    ) -> tuple[ActorState, Batch, Returns]:
        """Draw a batch to learn from, and as many held-out examples to measure the accuracy on.

        Returns:
            The actor as it was, the batch (time axis of length one), and the accuracy.
        """
        number, examples = actor.episode_return.shape[0], len(self.images)
        images, labels = jnp.asarray(self.images), jnp.asarray(self.labels)
        key_train, key_test = jax.random.split(key)
        train = jax.random.randint(key_train, (number,), 0, examples - self.held_out)
        test = jax.random.randint(key_test, (number,), examples - self.held_out, examples)
        guess = jnp.argmax(self.network.apply({"params": params}, images[test]), axis=-1)
        right = (guess == labels[test]).astype(jnp.float32)
        zero = jnp.zeros((1, number))
        batch = Batch(
            images[train][None], labels[train][None], right[None], zero, zero, actor.observation
        )
        return actor, batch, Returns(right.sum(), jnp.float32(number))

    def loss(
        self, params: Tree, batch: Batch, reward_scale: float | jax.Array = 1.0
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the cross-entropy, also as the term that is called ``actor`` in RL.

        Args:
            params: Parameters.
            batch: From :meth:`rollout`.
            reward_scale: Multiplies the loss.
        """
        logits = self.network.apply({"params": params}, batch.observation)
        right = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.action[..., None], axis=-1)
        loss = -reward_scale * jnp.mean(right)
        return loss, {"actor": loss}

    def activations(self, params: Tree, batch: Batch) -> Tree:
        """Return how active every unit is on a batch; see :func:`unit_activations`.

        Args:
            params: Parameters.
            batch: From :meth:`rollout`.
        """
        output = ("layers_2",)
        return unit_activations(self.network, params, batch.observation, nn.relu, output)


ToyAgent = A2C | Classifier
"""Agents whose update is one gradient of one batch: what meta-training and toy tasks train."""

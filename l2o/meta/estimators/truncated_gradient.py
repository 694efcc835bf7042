"""The truncated meta-gradient: reverse-mode differentiation through K inner steps."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.meta.devices import over_devices
from l2o.meta.estimators.base import Estimate, Inner, split_keys

Tree = Any


@dataclasses.dataclass(frozen=True)
class TruncatedGradient:
    """Mean over agents of the gradient of the objective through one unroll (Optim4RL).

    Biased: what an update does to the loss beyond the unroll is not seen.
    """

    def slots(self, agents: int) -> int:
        """One per agent."""
        return agents

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> Tree:
        """Return new agents."""
        return inner.fresh(shared, split_keys(key, len(phase), 1)[:, 0], phase)

    def estimate(
        self, inner: Inner, shared: Any, state: Tree, key: jax.Array, sigma: jax.Array, devices: int
    ) -> Estimate:
        """Advance the population; see :class:`l2o.meta.estimators.base.Estimator`."""
        del sigma

        def local(shared: Any, agents: Tree, keys: jax.Array) -> tuple:
            where, broken = inner.ended(shared, agents)
            agents = inner.renew(shared, agents, where, keys)
            agents, outcome = inner.differentiate(shared, agents, keys)
            finite = jax.vmap(lambda tree: jnp.isfinite(optax.tree.norm(tree)))(outcome.gradient)

            def keep(leaf: jax.Array) -> jax.Array:
                return jnp.where(finite.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0.0)

            return agents, outcome, jax.tree.map(keep, outcome.gradient), finite, broken

        number = jax.tree.leaves(state)[0].shape[0]
        keys = split_keys(key, number, inner.keys)
        state, outcome, gradients, finite, broken = over_devices(local, devices)(
            shared, state, keys
        )
        # No usable agent at all makes the mean 0/0 on purpose: the step is then skipped.
        mean = jax.tree.map(lambda leaf: leaf.sum(0) / finite.sum(), gradients)
        loss = jnp.where(finite, outcome.loss, jnp.nan)
        return Estimate(mean, state, loss, outcome.statistics, broken)

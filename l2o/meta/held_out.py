"""How well an optimizer does, while it is meta-trained, on tasks that it is not meta-trained on."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from l2o.meta.estimators.full_es import live
from l2o.meta.loops.base import Shared
from l2o.meta.population import phases
from l2o.seeding import key_for

if TYPE_CHECKING:
    from l2o.meta.loops.base import InnerLoop
    from l2o.meta.outer import Settings

Tree = Any
_LATE = 0.5
"""Share of a lifetime, at its end, whose return counts where agents are not evaluated."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Tasks on which fresh agents are trained with the meta-parameters as they are.

    The agents are the same ones every time, so that two checkpoints differ by their optimizer.

    Attributes:
        loops: How the agents of each task are trained, and their objective: a return.
        agents: How many on each task.
    """

    loops: tuple[InnerLoop, ...]
    agents: int

    def measure(self, meta_params: Tree, settings: Settings, seed: int) -> dict[str, float]:
        """Return the mean return on each task, and its standard error over agents.

        Args:
            meta_params: What is judged.
            settings: Of the run: how long lifetimes are, and the scale of learning rates.
            seed: Of the run.
        """
        found: dict[str, float] = {}
        for loop in self.loops:
            keys = jax.random.split(key_for(seed, "held_out", loop.task.name), (2, self.agents))
            returns = -np.asarray(_lifetimes(loop, meta_params, settings, keys))
            returns = returns[np.isfinite(returns)]
            name = f"{loop.task.name}/held_out_return"
            found[name] = float(returns.mean()) if returns.size else float("nan")
            if returns.size > 1:
                found[f"{name}_error"] = float(returns.std(ddof=1) / returns.size**0.5)
        return found


@functools.partial(jax.jit, static_argnums=0)
def _lifetimes(
    loop: InnerLoop, meta_params: Tree, settings: Settings, keys: jax.Array
) -> jax.Array:
    """Return the losses of whole lifetimes, ``[agents]``, of random keys ``[2, agents]``."""
    number = keys.shape[1]
    shared = Shared(meta_params, settings.learning_rate_scale, settings.schedule, jnp.int32(0))
    agents = loop.fresh(shared, keys[0], phases("none", number, 1))
    metas = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), meta_params)
    return live(loop, shared, metas, agents, keys[1], _LATE)[0]

"""What meta-training compiles, found without training an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from l2o.jobs.programs import Lowered
from l2o.meta import train
from l2o.meta.build import build_trainer, starting_point
from l2o.meta.memory import less_memory
from l2o.seeding import key_for

if TYPE_CHECKING:
    from l2o.config.recipe import Recipe
    from l2o.meta.outer import MetaState


def outer_loop(recipe: Recipe, devices: int = 1, prefix: str = "") -> Lowered:
    """Return the program of a recipe's outer steps.

    Args:
        recipe: The recipe.
        devices: Devices that share the population.
        prefix: Of its keys in the configuration, for advice.
    """
    trainer, start = build_trainer(recipe, devices), starting_point(recipe)

    def init(key: jax.Array) -> tuple[MetaState, jax.Array]:
        state = trainer.init(key, start.settings(), trainer.phase(start))
        return jax.tree.map(lambda leaf: leaf[None], (state, key))

    shapes = jax.eval_shape(init, key_for(0, "meta_train"))
    loop = train.outer_loop(trainer, recipe.log_interval, 1, devices)
    return Lowered("outer loop", loop.lower(*shapes), tuple(less_memory(recipe, prefix)))

"""What a policy that acts at random returns: the zero of scores."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from l2o.evaluation.candidates import Candidate, families
from l2o.evaluation.ppo import PPOLifetime
from l2o.seeding import key_for


def random_returns(
    task: str, lifetime: PPOLifetime, seeds: Sequence[int], points: int
) -> np.ndarray:
    """Return the mean returns of random actions ``[points, seeds]``."""
    (family,) = families([Candidate("random", "sgd", 0.0)])
    values = jax.tree.map(lambda leaf: np.repeat(leaf, len(seeds), axis=0), family.values)
    keys = jnp.stack([key_for(seed, "random", task) for seed in seeds])
    agents = lifetime.init(family.program, values, keys, points)
    return np.asarray(lifetime.random_returns(agents, points), float)


def random_curves(
    task: str, lifetime: PPOLifetime, seeds: Sequence[int], like: pd.DataFrame
) -> pd.DataFrame:
    """Return curves of a policy that acts at random and never learns.

    Args:
        task: Name of the task.
        lifetime: How its agents are trained.
        seeds: Seeds of the agents.
        like: Learning curves on the task, for their points.
    """
    points = like[["task", "update", "env_steps", "episodes"]].drop_duplicates()
    returns = random_returns(task, lifetime, seeds, len(points))
    frames = [
        points.iloc[[i]].merge(pd.DataFrame({"seed": seeds, "return": row}), how="cross")
        for i, row in enumerate(returns)
    ]
    return pd.concat(frames).assign(optimizer="random", learning_rate=0.0)

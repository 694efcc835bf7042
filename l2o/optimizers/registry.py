"""Optimizers by name."""

from typing import Any

from l2o.errors import ConfigError, unknown_name
from l2o.optimizers.base import LearnedOptimizer
from l2o.optimizers.celo2 import Celo2
from l2o.optimizers.l2lgd2 import L2LGD2
from l2o.optimizers.linear import LinearOptim
from l2o.optimizers.open import OPEN
from l2o.optimizers.optim4rl import Optim4RLA, Optim4RLB
from l2o.optimizers.optim4rl_m import Optim4RLM
from l2o.optimizers.small_fc import SmallFC
from l2o.optimizers.star import Star
from l2o.optimizers.tensor_rule import TensorRule
from l2o.optimizers.velo import VeLO

_LEARNED: dict[str, type[LearnedOptimizer]] = {
    cls.name: cls
    for cls in (
        Optim4RLA,
        Optim4RLB,
        Optim4RLM,
        LinearOptim,
        L2LGD2,
        Star,
        OPEN,
        SmallFC,
        VeLO,
        Celo2,
        TensorRule,
    )
}


def list_optimizers() -> list[str]:
    """Return the names of the learned optimizers, sorted."""
    return sorted(_LEARNED)


def make_optimizer(name: str, **hyperparameters: Any) -> LearnedOptimizer:
    """Build a learned optimizer by name.

    Gradients that are not finite: under a bound (``grad_clip``) an infinite gradient is one at the
    bound. Everything else, a NaN or an infinity without a bound, is not repaired: the updates that
    depend on it become non-finite, and so does the state, for good. Those are the updates of the
    same coordinate for a coordinate-wise optimizer, else those of the leaf or of the whole tree.
    The guard is ``optax.apply_if_finite(tx, max_consecutive_errors)``, which drops such a step.
    Without a bound, ``small_fc`` takes gradients beyond 1.8e19, whose squares overflow, for
    infinite.

    Args:
        name: One of :func:`list_optimizers`.
        **hyperparameters: Arguments of its class, for example ``grad_clip=None``.

    Returns:
        The optimizer: ``init_meta(key)`` and ``transform(meta_params, learning_rate)``.

    Raises:
        L2OError: The name is unknown (the message gives the nearest valid one), or a
            hyperparameter is unknown or out of range.

    Example:
        >>> import jax, jax.numpy as jnp, l2o, optax
        >>> optimizer = l2o.make_optimizer("optim4rl_b")
        >>> tx = optimizer.transform(optimizer.init_meta(jax.random.key(0)), learning_rate=0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(2 * params, tx.init(params))
        >>> bool((jnp.abs(optax.apply_updates(params, updates)) < jnp.abs(params)).all())
        True
    """
    if name not in _LEARNED:
        raise unknown_name("learned optimizer", name, _LEARNED)
    hyperparameters = {  # JSON and YAML have no tuples
        key: tuple(value) if isinstance(value, list) else value
        for key, value in hyperparameters.items()
    }
    try:
        return _LEARNED[name](**hyperparameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer '{name}': {error}.") from None

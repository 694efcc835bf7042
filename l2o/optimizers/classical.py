"""Classical optimizers through optax, and a bank that runs several in one compiled program."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.errors import ConfigError, unknown_name

Tree = Any


def _scale_by_rest_of_training() -> optax.GradientTransformationExtraArgs:
    """Scale updates by what is left of training, ``1 - progress``: a linear decay to 0."""

    def update_fn(
        updates: Tree,
        state: optax.EmptyState,
        params: Tree = None,
        *,
        progress: jax.Array | float = 0.0,
        **extra_args: Any,
    ) -> tuple[Tree, optax.EmptyState]:
        del params, extra_args
        rest = 1.0 - jnp.asarray(progress, jnp.float32)
        return jax.tree.map(lambda u: (rest * u).astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)


_SCALINGS = {
    "adam": optax.scale_by_adam,
    "adam_decay": lambda: optax.chain(optax.scale_by_adam(), _scale_by_rest_of_training()),
    "adamw": lambda: optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-4)),
    "rmsprop": optax.scale_by_rms,
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(decay=0.9),
    "sign": optax.scale_by_sign,
    "lion": optax.scale_by_lion,
}


def list_classical() -> list[str]:
    """Return the names of the classical optimizers, sorted."""
    return sorted(_SCALINGS)


def classical(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    grad_clip: float | None = 1.0,
    grad_norm_clip: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Build a classical optimizer with optax's default hyperparameters.

    Args:
        name: One of :func:`list_classical`; ``"sign"`` is sign descent (signSGD), ``"adam_decay"``
            Adam whose learning rate falls linearly to 0 with the extra argument ``progress``.
        learning_rate: A number, a traced scalar or a schedule.
        grad_clip: Elementwise bound on the gradient, as learned optimizers have; ``None`` for none.
        grad_norm_clip: Bound on the norm of the whole gradient, applied after ``grad_clip``;
            ``None`` for none.

    Raises:
        L2OError: The name is unknown, or a bound is not positive.
    """
    if name not in _SCALINGS:
        raise unknown_name("classical optimizer", name, _SCALINGS)
    for option, bound in (("grad_clip", grad_clip), ("grad_norm_clip", grad_norm_clip)):
        if bound is not None and not bound > 0:
            raise ConfigError(f"{option} must be positive or None; got {bound!r}.")
    return optax.chain(
        optax.identity() if grad_clip is None else optax.clip(grad_clip),
        optax.identity() if grad_norm_clip is None else optax.clip_by_global_norm(grad_norm_clip),
        _SCALINGS[name](),
        optax.scale_by_learning_rate(learning_rate),
    )


def bank(
    names: Sequence[str],
    index: jax.Array,
    learning_rate: jax.Array,
    grad_clip: float | None = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Build a transformation that behaves as ``classical(names[index], learning_rate)``.

    ``index`` may be traced, so that optimizers become a vmapped axis of one program. All members
    run and one result is kept: cheap, because classical updates are.

    Args:
        names: The members.
        index: Which of them, int32 scalar.
        learning_rate: Float scalar.
        grad_clip: Elementwise bound on the gradient.
    """
    members = [classical(name, learning_rate, grad_clip) for name in names]

    def init_fn(params: Tree) -> tuple:
        return tuple(member.init(params) for member in members)

    def update_fn(updates: Tree, state: tuple, params: Tree = None, **extra: Any) -> tuple:
        results = [
            member.update(updates, member_state, params, **extra)
            for member, member_state in zip(members, state, strict=True)
        ]
        chosen = jax.tree.map(
            lambda *options: jnp.select([index == i for i in range(len(names))], options),
            *(update for update, _ in results),
        )
        return chosen, tuple(new_state for _, new_state in results)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)

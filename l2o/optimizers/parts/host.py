"""Between an optimizer and those who use it: trees, dtypes, settings and devices of many kinds.

An optimizer's own transformation sees gradients, parameters and extra arguments in float32, in one
tree, and runs under JAX's default settings; its updates come back in the form of the gradients.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from l2o.optimizers.parts import flags, sharding
from l2o.optimizers.parts.leaves import (
    aligned,
    as_float32,
    require_trainable,
    shape_of,
    update_dtype,
)

Tree = Any
_NUMBERS = ("value", "progress", "batch_progress", "activations")
"""Extra arguments that are read as float32."""


def user_rate(learning_rate: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    """Return a learning rate in float32; a schedule runs under its author's settings."""
    if not callable(learning_rate):
        return _number(learning_rate)

    def schedule(count: jax.Array) -> Any:
        with flags.users():
            return _number(learning_rate(count))

    return schedule


def _number(value: Any) -> Any:
    """Return a number in float32; Python's own have no type to change."""
    return as_float32(value) if hasattr(value, "dtype") else value


def hosted(
    name: str, reads_params: bool, inner: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer's transformation, for trees of any host library.

    Args:
        name: The optimizer's, for messages.
        reads_params: Whether ``update`` needs the parameters.
        inner: Its own transformation.
    """

    def init_fn(params: Tree) -> Tree:
        require_trainable(name, "parameters", params)
        leaves = jax.tree.leaves(params)
        with flags.defaults():
            state = inner.init(jax.tree.map(shape_of, params))
        if (mesh := sharding.mesh_of(leaves)) is not None:
            state = jax.tree.map(
                lambda x: x if sharding.explicit(x) else sharding.everywhere(x, mesh), state
            )
        return jax.tree.map(lambda x: _varying(x, _axes(leaves)), state)

    def update_fn(updates: Tree, state: Tree, params: Tree = None, **extra: Any) -> tuple:
        require_trainable(name, "gradients", updates)
        grads, structure = jax.tree.flatten(updates)
        found = _parameters(name, reads_params, updates, params)
        dtypes = [
            update_dtype(*pair) for pair in zip(grads, found or [None] * len(grads), strict=True)
        ]
        extra = {key: _as_numbers(key, value) for key, value in extra.items()}
        g = [as_float32(jnp.asarray(leaf)) for leaf in grads]
        p = None if found is None else [as_float32(jnp.asarray(leaf)) for leaf in found]
        mesh = sharding.mesh_of([*g, *(p or [])])
        if mesh is not None and not sharding.is_cut(state):
            g, p, extra = (sharding.everywhere(tree, mesh) for tree in (g, p, extra))
        with flags.defaults():
            params = None if p is None else structure.unflatten(p)
            steps, after = inner.update(structure.unflatten(g), state, params, **extra)
        if mesh is not None:
            after = sharding.as_before(after, state)
        after = jax.tree.map(lambda new, old: _varying(new, _axes([old])), after, state)
        steps = map(_like, jax.tree.leaves(steps), grads, dtypes)
        return structure.unflatten(steps), after

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _parameters(name: str, needed: bool, updates: Tree, params: Tree) -> list[Any] | None:
    """Return the parameters in the order of the gradients, if they are given and of use."""
    if params is None:
        return None
    try:
        found = aligned(name, updates, params)
    except ValueError:
        if needed:
            raise
        return None
    if needed:
        structure = jax.tree.structure(updates)
        require_trainable(name, "parameters", structure.unflatten(found))
    return found


def _as_numbers(key: str, value: Any) -> Any:
    return jax.tree.map(as_float32, value) if key in _NUMBERS else value


def _like(step: jax.Array, gradient: Any, dtype: Any) -> jax.Array:
    """Return an update as its gradient: dtype, and place."""
    step = step.astype(dtype)
    if (place := sharding.explicit(gradient)) is not None:
        return sharding.move(step, place)
    return sharding.alike(step, gradient)


def _axes(leaves: list[Any]) -> set[str]:
    """Return the manual axes of ``jax.shard_map`` along which leaves differ."""
    kinds = [getattr(jax.typeof(x), "mat", None) for x in leaves if isinstance(x, jax.Array)]
    return set().union(*(kind.varying for kind in kinds if kind is not None))


def _varying(x: jax.Array, axes: set[str]) -> jax.Array:
    """Let a state differ along the axes that the parameters do, as it will; else itself."""
    missing = tuple(sorted(axes - _axes([x])))
    whole = not missing or not jnp.issubdtype(x.dtype, jnp.floating)
    return x if whole else jax.lax.pcast(x, missing, to="varying")

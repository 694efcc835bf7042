"""Linear functions with a transpose of their own, for derivatives of every kind and order.

``jax.custom_vjp`` gives a backward pass of one's own and forbids forward mode. A function with
``jax.custom_jvp`` whose tangent is such a linear function has both: in reverse mode JAX transposes
the tangent, and the transpose given here runs; in forward mode the function itself runs.
(``jax.custom_derivatives.linear_call`` knows no ``vmap`` and no second derivatives.)
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from l2o.optimizers.parts import flags

Tree = Any
_linear = Primitive("l2o_linear")
_linear.multiple_results = True


@flags.under_defaults
def linear_map(
    function: Callable[[Tree, Tree], Tree],
    transpose: Callable[[Tree, Tree], Tree],
    fixed: Tree,
    x: Tree,
) -> Tree:
    """Return ``function(fixed, x)``.

    Args:
        function: Linear in ``x``; must not close over traced arrays, nor may ``transpose``.
        transpose: From ``fixed`` and a cotangent of the result to that of ``x``, dtypes and shapes
            as of ``x``.
        fixed: What the linear function depends on in any way.
        x: Its argument.
    """
    fixed_leaves, fixed_structure = jax.tree.flatten(fixed)
    leaves, structure = jax.tree.flatten(x)
    count = len(fixed_leaves)

    def flat(*args: jax.Array) -> Tree:
        given = fixed_structure.unflatten(args[:count])
        return function(given, structure.unflatten(args[count:]))

    jaxpr, shapes = jax.make_jaxpr(flat, return_shape=True)(*fixed_leaves, *leaves)
    out_structure = jax.tree.structure(shapes)

    @flags.under_defaults
    def flat_transpose(fixed: list, cotangents: list) -> list:
        given = fixed_structure.unflatten(fixed), out_structure.unflatten(cotangents)
        return jax.tree.leaves(transpose(*given))

    out = _linear.bind(*fixed_leaves, *leaves, jaxpr=jaxpr, transpose=flat_transpose, fixed=count)
    return out_structure.unflatten(out)


def _evaluate(*args: jax.Array, jaxpr: Any, transpose: Callable, fixed: int) -> list:
    del transpose, fixed
    return jaxpr_as_fun(jaxpr)(*args)


def _shapes(*args: Any, jaxpr: Any, transpose: Callable, fixed: int) -> list:
    del args, transpose, fixed
    return jaxpr.out_avals


def _jvp(primals: list, tangents: list, *, jaxpr: Any, transpose: Callable, fixed: int) -> tuple:
    """Differentiate: linear in the last arguments, and as JAX does it in the fixed ones."""
    params = {"jaxpr": jaxpr, "transpose": transpose, "fixed": fixed}
    out = _linear.bind(*primals, **params)
    parts = []
    if not all(isinstance(t, ad.Zero) for t in tangents[fixed:]):
        along = map(ad.instantiate_zeros, tangents[fixed:])
        parts.append(_linear.bind(*primals[:fixed], *along, **params))
    moving = [i for i in range(fixed) if not isinstance(tangents[i], ad.Zero)]
    if moving:

        def at(*values: jax.Array) -> list:
            args = list(primals)
            for i, value in zip(moving, values, strict=True):
                args[i] = value
            return jaxpr_as_fun(jaxpr)(*args)

        start = tuple(primals[i] for i in moving)
        parts.append(jax.jvp(at, start, tuple(tangents[i] for i in moving))[1])
    return out, [sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True)]


def _transposed(cotangents: list, *args: Any, jaxpr: Any, transpose: Callable, fixed: int) -> list:
    del jaxpr
    results = transpose(list(args[:fixed]), [ad.instantiate_zeros(c) for c in cotangents])
    wanted = map(ad.is_undefined_primal, args[fixed:])
    # What is not asked for is a zero tangent, made an array on the way.
    return [None] * fixed + [r if w else None for r, w in zip(results, wanted, strict=True)]


def _batched(args: list, dims: list, *, jaxpr: Any, transpose: Callable, fixed: int) -> tuple:
    axes = [None if dim is None else 0 for dim in dims]
    moved = [
        arg if axis is None else jax.numpy.moveaxis(arg, dim, 0)
        for arg, dim, axis in zip(args, dims, axes, strict=True)
    ]
    size = next(len(arg) for arg, axis in zip(moved, axes, strict=True) if axis == 0)
    batched = jax.make_jaxpr(jax.vmap(jaxpr_as_fun(jaxpr), in_axes=axes, axis_size=size))(*moved)

    def batched_transpose(given: list, cotangents: list) -> list:
        map_ = jax.vmap(transpose, in_axes=(axes[:fixed], 0), axis_size=size)
        results = zip(map_(given, cotangents), axes[fixed:], strict=True)
        return [result if axis == 0 else result.sum(0) for result, axis in results]

    out = _linear.bind(*moved, jaxpr=batched, transpose=batched_transpose, fixed=fixed)
    return out, [0] * len(out)


_linear.def_impl(_evaluate)
_linear.def_abstract_eval(_shapes)
ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transposed
batching.primitive_batchers[_linear] = _batched
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=True))

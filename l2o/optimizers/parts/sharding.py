"""Parameters spread over devices.

On a mesh with explicit axes, the default of ``jax.make_mesh``, an array's type says how it lies,
and arrays that lie differently do not mix. Coordinate-wise optimizers work shard by shard, their
state cut as the parameters are (:class:`Cut`); others gather the leaves, and the updates go back to
where the gradients are.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.shard_alike import shard_alike
from jax.sharding import NamedSharding, PartitionSpec

Tree = Any


class Cut(NamedTuple):
    """Stands for an array ``[features, parameters]`` whose parameters are sharded."""

    parts: tuple[jax.Array, ...]  # one per leaf, [features, *shape], sharded as the leaf


def is_cut(tree: Tree) -> bool:
    """Whether a state is cut."""
    return any(map(_is_cut, jax.tree.leaves(tree, is_leaf=_is_cut)))


def _is_cut(node: Any) -> bool:
    return isinstance(node, Cut)


def explicit(leaf: Any) -> NamedSharding | None:
    """Return the sharding that a leaf's type has on a mesh with explicit axes, if any.

    Its mesh is that of the devices where it is known, outside of ``jit``.
    """
    if isinstance(leaf, jax.ShapeDtypeStruct):
        sharding = leaf.sharding
    elif isinstance(leaf, jax.Array):
        sharding = jax.typeof(leaf).sharding
    else:
        return None
    if not isinstance(sharding, NamedSharding) or not sharding.mesh.explicit_axes:
        return None
    if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
        return NamedSharding(leaf.sharding.mesh, sharding.spec)
    return sharding


def is_split(leaf: Any) -> bool:
    """Whether devices have parts of a leaf, by its type."""
    sharding = explicit(leaf)
    return sharding is not None and any(axis is not None for axis in sharding.spec)


def mesh_of(leaves: Sequence[Any]) -> Any:
    """Return the mesh with explicit axes that a leaf lies on, if any."""
    found = (sharding.mesh for leaf in leaves if (sharding := explicit(leaf)))
    return next(found, None)


def move(x: jax.Array, sharding: NamedSharding) -> jax.Array:
    """Return an array as it lies elsewhere; itself if it does already."""
    now = explicit(x)
    if now is not None and now.spec == sharding.spec:
        return x
    return jax.sharding.reshard(x, sharding)


def everywhere(tree: Tree, mesh: Any) -> Tree:
    """Return arrays of a tree as they are whole on every device."""
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: move(x, _of_rank(whole, jnp.ndim(x))), tree)


def _of_rank(sharding: NamedSharding, rank: int) -> NamedSharding:
    axes = (*sharding.spec, *[None] * (rank - len(sharding.spec)))
    return NamedSharding(sharding.mesh, PartitionSpec(*axes))


def as_before(after: Tree, before: Tree) -> Tree:
    """Let a state's arrays lie as they did, so that a loop can carry them."""

    def restore(new: jax.Array, old: jax.Array) -> jax.Array:
        sharding = explicit(old)
        return new if sharding is None else move(new, sharding)

    return jax.tree.map(restore, after, before)


def alike(update: jax.Array, gradient: Any) -> jax.Array:
    """Let an update lie as its gradient does, where the compiler is free to choose (auto axes)."""
    if not isinstance(gradient, jax.Array) or jax.device_count() == 1:
        return update
    if not isinstance(gradient, jax.core.Tracer):
        whole = isinstance(update, jax.core.Tracer) or len(gradient.sharding.device_set) == 1
        return update if whole else jax.device_put(update, gradient.sharding)
    if jax.typeof(gradient).sharding.mesh.manual_axes:
        return update
    return shard_alike(update, gradient)[0]


class Shards(NamedTuple):
    """How leaves lie on a mesh; everything happens on each device's part of them."""

    mesh: Any
    specs: tuple[PartitionSpec, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[Any], lead: int = 0) -> "Shards | None":
        """Return how leaves lie; ``None`` if on no mesh.

        Args:
            leaves: Arrays or shapes.
            lead: How many leading axes are not the parameters'.
        """
        if (mesh := mesh_of(leaves)) is None:
            return None
        shardings = [explicit(leaf) for leaf in leaves]
        axes = [() if s is None else s.spec for s in shardings]
        shapes = tuple(tuple(leaf.shape[lead:]) for leaf in leaves)
        return cls(mesh, tuple(PartitionSpec(*a[lead:]) for a in axes), shapes)

    def init(self, function: Callable[[Tree, int], Tree], shared: Tree) -> Tree:
        """Return a state ``function(shared, parameters)``, cut."""
        shapes = [self._local(*leaf) for leaf in zip(self.shapes, self.specs, strict=True)]
        size = sum(map(math.prod, shapes))
        whole = jax.eval_shape(lambda shared: function(shared, size), shared)
        out = jax.tree.map(lambda _: self._cut_specs(), whole)

        def local(shared: Tree) -> Tree:
            return cut(function(shared, size), shapes)

        return self._map(local, (PartitionSpec(),), out)(everywhere(shared, self.mesh))

    def update(self, function: Callable, shared: Tree, state: Tree, leaves: Sequence) -> tuple:
        """Apply ``state, step = function(shared, state, vector)`` to each device's part.

        Returns:
            The state, cut, and the steps, one per leaf.
        """

        def local(shared: Tree, state: Tree, leaves: tuple) -> tuple:
            return on_leaves(function, shared, state, leaves)

        cut_specs = jax.tree.map(lambda _: self._cut_specs(), state, is_leaf=_is_cut)
        places = [NamedSharding(self.mesh, spec) for spec in self.specs]
        leaves = tuple(move(*leaf) for leaf in zip(leaves, places, strict=True))
        # A state that was read from a file lies elsewhere.
        state = jax.tree.map(
            lambda part, spec: move(part, NamedSharding(self.mesh, spec)), state, cut_specs
        )
        mapped = self._map(local, (PartitionSpec(), cut_specs, self.specs), (cut_specs, self.specs))
        return mapped(everywhere(shared, self.mesh), state, leaves)

    def _map(self, function: Callable, in_specs: tuple, out_specs: Tree) -> Callable:
        # Replicated leaves share a vector with others, so that none can be checked to be so.
        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            axis_names=set(self.mesh.explicit_axes),
            check_vma=False,
        )

    def _cut_specs(self) -> Cut:
        return Cut(tuple(PartitionSpec(None, *spec) for spec in self.specs))

    def _local(self, shape: tuple[int, ...], spec: PartitionSpec) -> tuple[int, ...]:
        sizes = dict(self.mesh.shape)
        axes = [() if a is None else a if isinstance(a, tuple) else (a,) for a in spec]
        axes += [()] * (len(shape) - len(axes))
        return tuple(
            n // math.prod(sizes[name] for name in names)
            for n, names in zip(shape, axes, strict=True)
        )


def on_leaves(function: Callable, shared: Tree, state: Tree, leaves: Sequence) -> tuple:
    """Apply ``state, step = function(shared, state, vector)`` to leaves and a cut state."""
    shapes = [leaf.shape for leaf in leaves]
    vector = jnp.concatenate([leaf.ravel() for leaf in leaves])
    state, step = function(shared, _joined(state), vector)
    steps = cut(step[None], shapes).parts
    return cut(state, shapes), tuple(part[0] for part in steps)


def cut(tree: Tree, shapes: Sequence[tuple[int, ...]]) -> Tree:
    """Cut arrays ``[features, parameters]`` into parts of given shapes."""

    def of_array(x: jax.Array) -> Cut:
        parts, start = [], 0
        for shape in shapes:
            part = x[:, start : start + math.prod(shape)]
            parts.append(part.reshape(len(x), *shape))
            start += math.prod(shape)
        return Cut(tuple(parts))

    return jax.tree.map(of_array, tree)


def _joined(tree: Tree) -> Tree:
    def of_parts(node: Cut) -> jax.Array:
        return jnp.concatenate(
            [part.reshape(len(part), math.prod(part.shape[1:])) for part in node.parts], axis=1
        )

    return jax.tree.map(of_parts, tree, is_leaf=_is_cut)

"""Every optimizer on eight devices, against one device; prints what differs. Run by a test."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import l2o

EXPLICIT, AUTO = AxisType.Explicit, AxisType.Auto
MESHES = {
    # Sizes of x and y, kind of the axes, whether it is the current mesh, and how leaves lie.
    "one axis": ((8, 1), EXPLICIT, False, (P("x", None), P(), P(None, "x", None), P())),
    "two axes": ((4, 2), EXPLICIT, True, (P("x", "y"), P("y"), P(None, ("y", "x"), None), P())),
    "replicated": ((4, 2), EXPLICIT, False, (P(), P(), P(), P())),
    "auto": ((4, 2), AUTO, False, (P("x", "y"), P("y"), P(None, "x", "y"), P())),
}
OPTIMIZERS = {name: {} for name in l2o.list_optimizers()} | {
    "optim4rl_b": {"unit_rms": True},
    "optim4rl_a": {"hidden_size": 2},
    "celo2": {"regex_1d": "b$"},
    "optim4rl_b, told": {"features": ("progress", "dormancy")},
}


def transformation(name):
    if name == "adam":
        return optax.adam(0.01)
    optimizer = l2o.make_optimizer(name.split(",")[0], **OPTIMIZERS[name])
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(optimizer.init_meta, jax.random.key(0))
    meta = jax.tree.map(lambda leaf: np.float32(rng.normal(scale=0.1, size=leaf.shape)), shapes)
    return optimizer.transform(meta, 0.01)


def parameters():
    rng = np.random.default_rng(0)
    shapes = {"actor": {"w": (8, 4), "b": (4,)}, "critic": {"k": (4, 8, 2), "s": ()}}
    draw = lambda shape: np.float32(rng.normal(size=shape))  # noqa: E731
    return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def train(txs, params, states):
    """Take two steps with each; the loop needs states that keep their types."""

    def step(carry, _):
        out = {}
        for name, (p, state) in carry.items():
            grads = jax.tree.map(jnp.sin, p)
            updates, state = txs[name].update(grads, state, p, value=1.0, progress=0.5)
            out[name] = (optax.apply_updates(p, updates), state), updates
        return {n: o[0] for n, o in out.items()}, {n: o[1] for n, o in out.items()}

    start = {name: (params, states[name]) for name in txs}
    return jax.lax.scan(step, start, length=2)


def check(case, txs, wanted):
    """Print what differs on one mesh."""
    sizes, kind, current, specs = MESHES[case]
    mesh = jax.make_mesh(sizes, ("x", "y"), axis_types=(kind, kind))
    leaves, structure = jax.tree.flatten(parameters())
    specs = [specs[i] for i in (1, 0, 2, 3)]  # in tree order: b, w, k, s
    place = lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec))  # noqa: E731
    params = structure.unflatten(map(place, leaves, specs))
    with jax.set_mesh(mesh) if current else contextlib.nullcontext():
        states = {name: tx.init(params) for name, tx in txs.items()}
        last, updates = jax.jit(lambda p, s: train(txs, p, s))(params, states)
        if case == "one axis":  # one step outside of jit, and init inside
            tx = txs["optim4rl_m"]
            grads = jax.tree.map(jnp.sin, params)
            first, _ = tx.update(grads, states["optim4rl_m"], params, progress=0.5)
            compare(case, "not compiled", first, jax.tree.map(lambda u: u[0], wanted["optim4rl_m"]))
            check_other_places(tx, params, states["optim4rl_m"], wanted["optim4rl_m"])
            new = jax.jit(lambda p: tx.update(p, tx.init(p), p)[0])(params)
            lie_alike(case, "init in jit", new, params)
    for name in txs:
        compare(case, name, updates[name], wanted[name])
        lie_alike(case, name, last[name][0], params)
        if name != "adam" and kind == EXPLICIT:
            types(case, name, states[name], last[name][1])


def compare(case, name, got, wanted):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        if not (off := np.abs(a - b).max()) <= 1e-4 * (largest := np.abs(b).max()):
            print(f"{case}: {name}: other updates, by {off} of {largest}")


def lie_alike(case, name, tree, params):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(params), strict=True):
        if not a.sharding.is_equivalent_to(b.sharding, a.ndim):
            print(f"{case}: {name}: lies as {a.sharding}, want {b.sharding}")


def types(case, name, before, after):
    described = [[str(jax.typeof(x)) for x in jax.tree.leaves(s)] for s in (before, after)]
    if described[0] != described[1]:
        print(f"{case}: {name}: the state was {described[0]}, is {described[1]}")


def check_other_places(tx, params, state, wanted):
    """Print what differs where state, gradients and parameters do not lie alike."""
    plain, flat = parameters(), tx.init(parameters())
    read = jax.tree.map(np.asarray, state)  # as from a file
    wanted = jax.tree.map(lambda u: u[0], wanted)
    for case, (s, p, g) in {
        "state from a file": (read, params, params),
        "all from files": (read, plain, plain),
        "state of one device": (flat, params, params),
        "gradients of one device": (state, params, plain),
    }.items():
        got, _ = tx.update(jax.tree.map(jnp.sin, g), s, p, progress=0.5)
        compare(case, "optim4rl_m", got, wanted)
        if g is params:
            lie_alike(case, "optim4rl_m", got, params)


def derivatives(txs_of, meta, params):
    """Return the derivatives of a sum of updates by meta-parameters."""

    def total(meta):
        tx = txs_of(meta)
        state, out = tx.init(params), 0.0
        for _ in range(2):
            updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
            out += sum(jnp.sum(jnp.sin(100 * u)) for u in jax.tree.leaves(updates))
        return out

    return jax.jit(jax.grad(total))(meta)


def check_derivatives():
    """Print what differs of derivatives where the parameters are sharded."""
    optimizer = l2o.make_optimizer("optim4rl_b", hidden_size=2)
    txs_of = lambda meta: optimizer.transform(meta, 0.01)  # noqa: E731
    meta = optimizer.init_meta(jax.random.key(0))
    params = {"w": parameters()["actor"]["w"], "b": parameters()["actor"]["b"]}
    wanted = jax.device_get(derivatives(txs_of, meta, params))
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    places = {"w": NamedSharding(mesh, P("x", "y")), "b": NamedSharding(mesh, P())}
    with jax.set_mesh(mesh):
        got = derivatives(txs_of, meta, jax.tree.map(jax.device_put, params, places))
    compare("two axes", "optim4rl_b, derivatives", jax.device_get(got), wanted)


def check_manual():
    """Print what differs inside of a user's ``jax.shard_map``, where the state has to vary too."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AUTO,))
    for name in ("adam", "linear", "small_fc"):
        txs, w = {name: transformation(name)}, parameters()["actor"]["w"]

        def alone(w, txs=txs, name=name):
            return train(txs, w, {name: txs[name].init(w)})[1][name]

        got = jax.jit(jax.shard_map(alone, mesh=mesh, in_specs=P("x"), out_specs=P(None, "x")))(w)
        wanted = [jax.jit(alone)(row[None]) for row in w]
        compare("shard_map", name, got, jnp.concatenate(wanted, axis=1))


def main():
    txs = {name: transformation(name) for name in ("adam", *OPTIMIZERS)}
    params = parameters()
    start = {name: tx.init(params) for name, tx in txs.items()}
    wanted = jax.device_get(jax.jit(lambda p, s: train(txs, p, s))(params, start)[1])
    check_derivatives()
    check_manual()
    for case in MESHES:
        try:
            check(case, txs, wanted)
        except Exception as error:
            print(f"{case}: {type(error).__name__}: {str(error)[:2000]}")


if __name__ == "__main__":
    main()

"""The same parameters in the trees of many libraries: updates are those of nested dictionaries."""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from every import LEARNED, assert_close, make
from flax import linen, nnx
from flax.training.train_state import TrainState

from l2o.optimizers.parts.layers import describe
from l2o.optimizers.parts.paths import plain_leaves

pytestmark = pytest.mark.long

SHAPES = {
    "critic": {"layers_0": {"bias": (2,), "kernel": (3, 2)}, "out": {"kernel": (2, 1)}},
    "actor": {"layers_0": {"bias": (2,), "kernel": (3, 2)}, "out": {"kernel": (2, 2)}},
}
CELO2 = {"regex_1d": "^actor/layers_0/bias$"}


def numbers(seed):
    rng = np.random.default_rng(seed)
    draw = lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def layers(tree, of_layer, of_network, of_agent):
    """Rebuild the tree from other classes of nodes."""
    build = lambda network: of_network(**{k: of_layer(**v) for k, v in network.items()})  # noqa: E731
    return of_agent(**{name: build(network) for name, network in tree.items()})


class Layer(NamedTuple):
    kernel: Any  # not in the order of their names
    bias: Any = None


class Network(NamedTuple):
    layers_0: Any
    out: Any


@flax.struct.dataclass
class Agent:
    critic: Any
    actor: Any


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["out", "layers_0"], meta_fields=["name"]
)
@dataclasses.dataclass
class Module:
    """Like equinox's modules: fields in an order of their own, some that are no leaves."""

    layers_0: Any
    out: Any
    name: str = "net"


@jax.tree_util.register_pytree_node_class
class Box:
    """Like a parameter's wrapper whose child has no name."""

    def __init__(self, array):
        self.array = array

    def tree_flatten(self):
        return (self.array,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def haiku(tree):
    return {
        f"{network}/~/{layer}": arrays
        for network, inner in tree.items()
        for layer, arrays in inner.items()
    }


def nnx_state(tree):
    return nnx.State(jax.tree.map(nnx.Param, tree))


WRAPPERS = {
    "flax params": lambda tree: {"params": tree},
    "params of each network": lambda tree: {k: {"params": v} for k, v in tree.items()},
    "FrozenDict": flax.core.freeze,
    "haiku": haiku,
    "nnx.State": nnx_state,
    "value of each": lambda tree: jax.tree.map(lambda x: {"value": x}, tree),
    "unnamed boxes": lambda tree: jax.tree.map(Box, tree),
    "flat": lambda tree: flax.traverse_util.flatten_dict(tree, sep="/"),
    "tuple keys": flax.traverse_util.flatten_dict,
    "linen boxes": lambda tree: jax.tree.map(lambda x: linen.Partitioned(x, (None,)), tree),
    "NamedTuples": lambda tree: layers(tree, Layer, Network, Agent),
    "modules": lambda tree: layers(tree, dict, Module, dict),
}


@functools.cache
def transformation(name):
    return make(name, **CELO2 if name == "celo2" else {})


def run(name, wrap, host=lambda tx: tx):
    """Return the updates of two steps, in a fixed order."""
    tx = host(transformation(name))
    params = numbers(0)
    state = tx.init(wrap(params))
    for seed in (1, 2):
        grads = numbers(seed)
        more = {"value": 1.0, "progress": 0.5, "key": jax.random.key(0)}
        updates, state = tx.update(wrap(grads), state, wrap(params), **more)
    return by_name(updates)


def by_name(tree):
    """Return leaves in the order of their plain names, which all wrappers must have."""
    named = dict(plain_leaves(tree))
    assert set(named) == set(flax.traverse_util.flatten_dict(SHAPES, sep="/"))
    return [named[name] for name in sorted(named)]


@functools.cache
def plain(name):
    return run(name, lambda tree: tree)


@pytest.mark.parametrize("name", LEARNED)
def test_updates_do_not_depend_on_the_tree(name):
    for wrap in WRAPPERS.values():
        assert_close(run(name, wrap), plain(name), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_roles_do_not_depend_on_the_tree(wrapper):
    said = {leaf.path: leaf for leaf in describe(WRAPPERS[wrapper](numbers(0)))}
    assert said == {leaf.path: leaf for leaf in describe(numbers(0))}


HOSTS = {
    "chain": lambda tx: optax.chain(optax.identity(), tx),
    "masked": lambda tx: optax.masked(tx, lambda tree: jax.tree.map(lambda _: True, tree)),
    "partition": lambda tx: optax.partition(
        {"all": tx}, lambda tree: jax.tree.map(lambda _: "all", tree)
    ),
    "every step": lambda tx: optax.MultiSteps(tx, 1),
    "if finite": lambda tx: optax.apply_if_finite(tx, 3),
}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("host", ["chain", "masked", "partition"])
def test_updates_do_not_depend_on_optax(name, host):
    assert_close(run(name, WRAPPERS["flax params"], HOSTS[host]), plain(name), 1e-4, 1e-6)


@pytest.mark.parametrize("host", ["every step", "if finite"])
def test_nor_on_hosts_that_compile(host):
    assert_close(run("open", nnx_state, HOSTS[host]), plain("open"), 1e-4, 1e-6)


@pytest.mark.parametrize("name", LEARNED)
def test_parameters_may_be_richer_than_gradients(name):
    """As equinox hands a whole model over, with functions, numbers and keys for leaves."""
    tx = transformation(name)
    params, grads = numbers(0), numbers(1)
    extra = {"activation": None, "steps": None, "key": None, "bias": None}
    rest = {
        "activation": jnp.tanh,
        "steps": 3,
        "key": jax.random.key(0),
        "bias": {"two": "things", "here": 1j},
    }
    filtered, model, g = (
        tree | {"static": x} for tree, x in ((params, extra), (params, rest), (grads, extra))
    )
    updates, _ = tx.update(g, tx.init(filtered), model)
    wanted, _ = tx.update(grads, tx.init(params), params)
    assert_close(updates, wanted)
    assert updates["static"] == extra


@pytest.mark.parametrize("name", ["open", "star"])
def test_parameters_may_be_in_another_tree(name):
    tx, params, grads = transformation(name), numbers(0), numbers(1)
    wanted, _ = tx.update(grads, tx.init(params), params)
    for other in ("nnx.State", "haiku", "NamedTuples"):
        updates, _ = tx.update(grads, tx.init(params), WRAPPERS[other](params))
        assert_close(updates, wanted)


def test_nnx_optimizer():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    tx = transformation("open")
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    grads = nnx.grad(lambda model: jnp.sum(model(jnp.ones((1, 3))) ** 2))(model)
    optimizer.update(model, grads)
    wanted, _ = tx.update(nnx.to_pure_dict(grads), tx.init(before), before)
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert_close(after, optax.apply_updates(before, wanted))


def test_train_state():
    tx, params, grads = transformation("celo2"), numbers(0), numbers(1)
    state = TrainState.create(apply_fn=None, params=flax.core.freeze(params), tx=tx)
    state = state.apply_gradients(grads=flax.core.freeze(grads))
    wanted, _ = tx.update(grads, tx.init(params), params)
    assert_close(state.params, optax.apply_updates(params, wanted))


def test_activations_may_be_in_another_tree():
    tx, params, grads = transformation("open"), numbers(0), numbers(1)
    units = jax.tree.map(lambda p: jnp.arange(1.0, 1 + p.shape[-1]), params)
    run = lambda wrap, told: by_name(  # noqa: E731
        tx.update(wrap(grads), tx.init(wrap(params)), wrap(params), activations=told)[0]
    )
    wanted = run(lambda tree: tree, units)
    assert_close(run(nnx_state, {"params": units}), wanted, 1e-4, 1e-6)
    without = run(lambda tree: tree, None)
    assert np.abs(wanted[0] - without[0]).max() > 0.01 * np.abs(wanted[0]).max()


def test_names_that_only_look_like_wrappers_stay():
    heads = {"heads": {"policy": 1.0, "value": 2.0}, "params": 3.0}
    assert dict(plain_leaves(heads)) == {"heads/policy": 1.0, "heads/value": 2.0, "params": 3.0}
    twins = {"params": {"w": 1.0}, "w": 2.0}
    assert dict(plain_leaves(twins)) == {"params/w": 1.0, "w": 2.0}
    many = {"mlp": [{"w": float(i)} for i in range(12)]}
    assert [leaf.depth for leaf in describe(many)] == [i / 11 for i in range(12)]

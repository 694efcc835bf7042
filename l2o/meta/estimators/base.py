"""What every estimator of the meta-gradient is given and gives."""

from typing import Any, NamedTuple, Protocol

import jax

Tree = Any


class Inner(Protocol):
    """What is optimized in the inner loop; see :class:`l2o.meta.loops.base.InnerLoop`."""

    @property
    def keys(self) -> int:
        """Random keys that one agent needs for an outer step."""

    def fresh(self, shared: Any, keys: jax.Array, phase: jax.Array) -> Tree:
        """Return new agents, leaves ``[N, ...]``."""

    def ended(self, shared: Any, agents: Tree) -> tuple:
        """Return whose lifetime is over, and which of them diverged, bool ``[N]``."""

    def renew(self, shared: Any, agents: Tree, where: jax.Array, keys: jax.Array) -> Tree:
        """Replace some agents by new ones."""

    def differentiate(self, shared: Any, agents: Tree, keys: jax.Array) -> tuple:
        """Train; return agents and an outcome with gradients."""

    def measure(self, shared: Any, meta_params: Tree, agents: Tree, keys: jax.Array) -> tuple:
        """Train with meta-parameters of each agent's own; return agents and an outcome."""

    def assess(self, agents: Tree, loss: jax.Array) -> jax.Array:
        """Return the loss of agents at the end, given the one measured, ``[N]``."""

    def lifetime(self, schedule: Any) -> jax.Array:
        """Return the outer steps of a scheduled lifetime."""


class Estimate(NamedTuple):
    """A meta-gradient from one task's population, and what was seen on the way."""

    gradient: Tree  # like the meta-parameters; not finite if no agent was usable
    state: Tree  # of the population
    loss: jax.Array  # [N], NaN where an agent was left out
    statistics: dict[str, jax.Array]  # [N] each
    restarted: jax.Array  # [N] bool, which agents had diverged before the step


class Estimator(Protocol):
    """A way to get the meta-gradient of a population; hashable, methods are pure."""

    def slots(self, agents: int) -> int:
        """Return the length of the population's leading axis, ``N``."""

    def init(self, inner: Inner, shared: Any, key: jax.Array, phase: jax.Array) -> Tree:
        """Return the state of a population before the first outer step."""

    def estimate(
        self, inner: Inner, shared: Any, state: Tree, key: jax.Array, sigma: jax.Array, devices: int
    ) -> Estimate:
        """Advance a population by one outer step.

        Args:
            inner: What it trains on.
            shared: What its agents have in common: ``meta_params`` first of all.
            state: From :meth:`init` or the last step.
            key: Random key.
            sigma: Standard deviation of perturbations; unused without them.
            devices: Devices that share the population.
        """


def split_keys(key: jax.Array, agents: int, each: int) -> jax.Array:
    """Return random keys ``[agents, each]``, the same however the agents are split up."""
    # One flat call of the hash function: short inner axes are slow to compile.
    return jax.random.split(key, agents * each).reshape(agents, each)

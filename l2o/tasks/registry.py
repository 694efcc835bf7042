"""Tasks by name: an environment, the agent algorithm that learns it, and published budgets."""

import dataclasses
import functools

import gymnax

from l2o.agents.a2c import A2C, A2CHyperparameters
from l2o.agents.classifier import Classifier, ToyAgent
from l2o.choices import PPO_TASKS
from l2o.environments import digits, families, gridworlds
from l2o.errors import look_up


@dataclasses.dataclass(frozen=True)
class ToyTask:
    """A toy task, learned by A2C or, if it is supervised, by a classifier.

    Attributes:
        name: Its name here.
        env_id: Its name in gymnax; none for supervised ones.
        torso: Network torso, see :class:`l2o.agents.networks.ActorCritic`.
        environments: Published number of environments of one agent; families have the same.
        updates: Published number of agent updates (5e6 environment steps in all).
    """

    name: str
    env_id: str
    torso: str
    environments: int = 512
    updates: int = 488


TOY_TASKS: dict[str, ToyTask] = (
    {
        name: ToyTask(name, name, "D32" if name.startswith("small") else "C16-D32")
        for name in gridworlds.SPECS
    }
    | {name: ToyTask(name, name, "D32") for name in families.SPECS}
    | {"catch": ToyTask("catch", "Catch-bsuite", "D256")}
    | {digits.NAME: ToyTask(digits.NAME, "", "D32", environments=64, updates=1000)}
)


def list_tasks() -> list[str]:
    """Return the names of all tasks, sorted."""
    return sorted([*TOY_TASKS, *PPO_TASKS])


def toy_task(name: str) -> ToyTask:
    """Return a toy task by name.

    Raises:
        L2OError: The name is unknown; the message gives the nearest valid one.
    """
    return look_up("toy task", name, TOY_TASKS)


def make_toy_agent(
    name: str, torso: str | None = None, interior: bool = True, timeout_terminates: bool = True
) -> ToyAgent:
    """Build the agent of a toy task; see :func:`make_a2c` for what it takes."""
    if toy_task(name).env_id:
        return make_a2c(name, torso, interior, timeout_terminates)
    return _make_classifier(torso or toy_task(name).torso)


@functools.lru_cache
def _make_classifier(torso: str) -> Classifier:
    return Classifier(*digits.load_digits(), digits.HELD_OUT, hidden=int(torso.removeprefix("D")))


@functools.lru_cache
def make_a2c(
    name: str, torso: str | None = None, interior: bool = True, timeout_terminates: bool = True
) -> A2C:
    """Build the A2C agent of a toy task.

    Args:
        name: A toy task.
        torso: Another network torso than the published one.
        interior: Leave a gridworld's wall border, always zero, out of the observation. This halves
            the small networks; the paper's agents see the border. Families never show it.
        timeout_terminates: Treat time-outs as terminations, as published.
    """
    task = toy_task(name)
    options = {"interior": interior} if name in gridworlds.SPECS else {}
    env, env_params = gymnax.make(task.env_id, **options)
    hyperparameters = A2CHyperparameters(timeout_terminates=timeout_terminates)
    return A2C(env, env_params, torso or task.torso, hyperparameters)

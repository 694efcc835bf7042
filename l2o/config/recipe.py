"""Settings of meta-training."""

from typing import Annotated, Any, Literal

import pydantic

from l2o.choices import BACKENDS, ESTIMATORS, OBJECTIVES, RESETS, SHAPINGS, TOY_TASKS
from l2o.config.base import (
    AtLeastOne,
    Fraction,
    Model,
    Name,
    Positive,
    PositiveFloat,
    Torso,
    field,
)
from l2o.config.checks import check_recipe
from l2o.config.ppo import PPOBudget, PPOSettings
from l2o.config.presets import resolve


class MetaTask(Model):
    """A task in a recipe's meta-training set."""

    task: Name = field("Toy task, or one that PPO learns.")
    name: Name | None = field("Its name in metrics, if the task is there more than once.", None)
    torso: Torso | None = field("Network torso; none for the published one.", None)
    learning_rate: PositiveFloat = field("Inner learning rate.", 3e-3)
    reward_scale: PositiveFloat = field("Multiplies the rewards.", 1.0)
    weight: PositiveFloat = field("Of its meta-gradient in the mean over tasks.", 1.0)
    lifetime: Fraction = field("Of a scheduled lifetime, the share that one here lasts.", 1.0)
    ppo: PPOBudget | None = field(
        "Replaces settings of its PPO agents, after the recipe's `ppo`; see `transfer.ppo`.", None
    )

    @property
    def label(self) -> str:
        """Its name in metrics."""
        return self.name or self.task

    @property
    def is_toy(self) -> bool:
        """Whether A2C or a classifier learns it, not PPO."""
        return self.task in TOY_TASKS


class Recipe(Model):
    """Everything that defines one meta-training run, but for the seed."""

    optimizer: dict[str, Any] = field("Learned optimizer: `name` and its hyperparameters.")
    tasks: list[MetaTask] = field("Meta-training set.", min_length=1)
    held_out: list[MetaTask] = field(
        "Tasks on which fresh agents are trained at every checkpoint, to see how it goes.", []
    )
    held_out_agents: Positive = field("How many on each of them.", 16)
    estimator: Literal[*ESTIMATORS] = field("How the meta-gradient is made.", "truncated_gradient")
    agents: Positive = field("Agents per task; evolution strategies train them in pairs.")
    environments: Positive = field("Environments per A2C agent; PPO's are among its settings.")
    unroll: Positive = field(
        "Inner steps per outer step, K; with full_es per block. One is an update of A2C, or an "
        "iteration of PPO with all its updates."
    )
    outer_steps: Positive = field("Outer steps; with full_es each is a lifetime.")
    resets: Literal[*RESETS] = field(
        "Pipeline training (staggered), all agents at once, lifetimes drawn at random, or never."
    )
    reset_interval: Positive = field("Outer steps of one lifetime; with full_es blocks.")
    objective: Literal[*OBJECTIVES] = field(
        "Meta-loss: the agent loss or its actor term, on the next rollout or the mean over the "
        "unroll; evolution strategies: a return, on the same, or (full_es) on the last tenth or "
        "half of a lifetime or all of it; of PPO agents also that of evaluation episodes."
    )
    meta_learning_rate: PositiveFloat = field("Learning rate of Adam on the meta-parameters.")
    meta_b1: Annotated[float, pydantic.Field(ge=0, lt=1)] = field("Momentum of that Adam.", 0.9)
    meta_warmup: Annotated[int, pydantic.Field(ge=0)] = field(
        "Outer steps over which the meta learning rate rises.", 0
    )
    meta_decay: Fraction = field("Factor on the meta learning rate per outer step.", 1.0)
    meta_grad_clip: PositiveFloat | None = field("Elementwise bound on the meta-gradient.")
    task_norm: PositiveFloat | None = field("Rescale each task's meta-gradient to it.", None)
    sigma: PositiveFloat = field("Standard deviation of perturbations.", 0.01)
    sigma_decay: Fraction = field("Factor on sigma per outer step.", 1.0)
    shaping: Literal[*SHAPINGS] = field(
        "How evolution strategies normalise a task's losses.", "standardise"
    )
    learning_rate_scale: PositiveFloat = field("Multiplies all inner learning rates.", 1.0)
    reward_range: AtLeastOne = field(
        "Each lifetime's rewards are scaled by a factor, log-uniform in [1/x, x].", 1.0
    )
    parameter_range: AtLeastOne = field(
        "Each lifetime's tensors are reparametrised by such factors.", 1.0
    )
    rate_range: AtLeastOne = field("Each lifetime's learning rate is scaled by a factor.", 1.0)
    ppo: PPOBudget | None = field("Replaces settings of all PPO agents; see `transfer.ppo`.", None)
    backend: Literal[*BACKENDS] = field("Brax's physics.", "spring")
    evaluation_episodes: Positive = field("Episodes of objective evaluation_return.", 16)
    control: bool = field(
        "Meta-trained on test tasks on purpose: never the champion, and no claim counts it.", False
    )
    segment: Positive | None = field(
        "Updates kept in memory at a time, a divisor of those of an outer step; none for all.", None
    )
    interior: bool = field("Leave the gridworld's wall border out of observations.", True)
    timeout_terminates: bool = field("Treat time-outs as terminations, as published.", True)
    log_interval: Positive = field("Outer steps between host round trips.")
    checkpoint_interval: Positive = field(
        "Outer steps between checkpoints; what a killed run goes on from is written less often if "
        "that takes more than a second."
    )
    max_skipped: Positive = field("Stop after so many non-finite meta-gradients in a row.", 10)

    @pydantic.model_validator(mode="after")
    def _intervals(self) -> "Recipe":
        if self.checkpoint_interval % self.log_interval:
            raise ValueError("checkpoint_interval must be a multiple of log_interval")
        if self.outer_steps % self.checkpoint_interval:
            raise ValueError("outer_steps must be a multiple of checkpoint_interval")
        if self.resets == "synchronous" and self.reset_interval >= self.outer_steps:
            raise ValueError("synchronous resets need a reset_interval below outer_steps")
        check_recipe(self)
        for where in ("tasks", "held_out"):
            names = [task.label for task in getattr(self, where)]
            if len(set(names)) < len(names):
                raise ValueError(f"{where} names a task twice: {', '.join(sorted(names))}")
        if self.needs_pairs and self.agents % 2:
            raise ValueError(f"estimator {self.estimator} needs an even number of agents")
        return self

    @property
    def needs_pairs(self) -> bool:
        """Whether agents are trained in pairs."""
        return self.estimator != "truncated_gradient"

    def settings(self, task: MetaTask) -> PPOSettings:
        """Return the settings of a task that PPO learns.

        Raises:
            L2OError: PPO learns no task of that name.
        """
        over: dict[str, Any] = {}
        for budget in (self.ppo, task.ppo):
            over |= budget.replacements() if budget else {}
        return resolve(task.task, PPOBudget(**over))

    def updates(self, task: MetaTask) -> int:
        """Return the updates of an agent in an inner step."""
        if task.is_toy:
            return 1
        settings = self.settings(task)
        return settings.epochs * settings.minibatches

    def env_steps(self, task: MetaTask) -> int:
        """Return the environment steps of an agent in an inner step; A2C's per rollout step."""
        if task.is_toy:
            return self.environments
        return self.settings(task).steps_per_update

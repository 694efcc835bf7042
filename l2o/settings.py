"""The settings that a configuration holds, typed and validated.

Imports no jax: the Snakefile and ``l2o --help`` stay fast.
"""

from typing import Annotated, Any, Literal

import pydantic

from l2o.errors import unknown_name

Positive = Annotated[int, pydantic.Field(gt=0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0)]
Fraction = Annotated[float, pydantic.Field(gt=0, le=1)]
AtLeastOne = Annotated[float, pydantic.Field(ge=1)]
Torso = Literal["D32", "D256", "C16-D32"]
Name = Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _field(description: str, default: Any = ..., **kwargs: Any) -> Any:
    return pydantic.Field(default, description=description, **kwargs)


class Model(pydantic.BaseModel):
    """Refuses unknown keys and changes."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ToyBudget(Model):
    """How long A2C agents are trained on a toy task when optimizers are evaluated."""

    environments: Positive = _field("Parallel environments of one agent.")
    updates: Positive = _field("Agent updates of one lifetime.")
    points: Positive = _field("Points of a learning curve.", 20)
    torso: Torso | None = _field("Network torso; none for the published one.", None)


class MetaTask(Model):
    """A task in a recipe's meta-training set."""

    task: Name = _field("Toy task.")
    name: Name | None = _field("Its name in metrics, if the task is there more than once.", None)
    torso: Torso | None = _field("Network torso; none for the published one.", None)
    learning_rate: PositiveFloat = _field("Inner learning rate.", 3e-3)
    reward_scale: PositiveFloat = _field("Multiplies the rewards.", 1.0)
    weight: PositiveFloat = _field("Of its meta-gradient in the mean over tasks.", 1.0)

    @property
    def label(self) -> str:
        """Its name in metrics."""
        return self.name or self.task


class Recipe(Model):
    """Everything that defines one meta-training run, but for the seed."""

    optimizer: dict[str, Any] = _field("Learned optimizer: `name` and its hyperparameters.")
    tasks: list[MetaTask] = _field("Meta-training set.", min_length=1)
    estimator: Literal["truncated_gradient", "truncated_es", "pes", "full_es"] = _field(
        "How the meta-gradient is made.", "truncated_gradient"
    )
    agents: Positive = _field("Agents per task; evolution strategies train them in pairs.")
    environments: Positive = _field("Environments per agent.")
    unroll: Positive = _field("Inner steps per outer step, K; with full_es per block.")
    outer_steps: Positive = _field("Outer steps; with full_es each is a lifetime.")
    resets: Literal["staggered", "synchronous", "random", "none"] = _field(
        "Pipeline training (staggered), all agents at once, lifetimes drawn at random, or never."
    )
    reset_interval: Positive = _field("Outer steps of one lifetime; with full_es blocks.")
    objective: Literal[
        "actor",
        "agent_loss",
        "mean_actor",
        "mean_agent_loss",
        "return",
        "mean_return",
        "final_return",
        "late_return",
        "lifetime_return",
    ] = _field(
        "Meta-loss: the agent loss or its actor term, on the next rollout or the mean over the "
        "unroll; evolution strategies: a return, on the same, or (full_es) on the last tenth or "
        "half of a lifetime or all of it."
    )
    meta_learning_rate: PositiveFloat = _field("Learning rate of Adam on the meta-parameters.")
    meta_b1: Annotated[float, pydantic.Field(ge=0, lt=1)] = _field("Momentum of that Adam.", 0.9)
    meta_warmup: Annotated[int, pydantic.Field(ge=0)] = _field(
        "Outer steps over which the meta learning rate rises.", 0
    )
    meta_decay: Fraction = _field("Factor on the meta learning rate per outer step.", 1.0)
    meta_grad_clip: PositiveFloat | None = _field("Elementwise bound on the meta-gradient.")
    task_norm: PositiveFloat | None = _field("Rescale each task's meta-gradient to it.", None)
    sigma: PositiveFloat = _field("Standard deviation of perturbations.", 0.01)
    sigma_decay: Fraction = _field("Factor on sigma per outer step.", 1.0)
    shaping: Literal["none", "standardise", "ranks"] = _field(
        "How evolution strategies normalise a task's losses.", "standardise"
    )
    learning_rate_scale: PositiveFloat = _field("Multiplies all inner learning rates.", 1.0)
    reward_range: AtLeastOne = _field(
        "Each lifetime's rewards are scaled by a factor, log-uniform in [1/x, x].", 1.0
    )
    parameter_range: AtLeastOne = _field(
        "Each lifetime's tensors are reparametrised by such factors.", 1.0
    )
    segment: Positive | None = _field(
        "Inner steps kept in memory at a time, a divisor of unroll; none for all.", None
    )
    interior: bool = _field("Leave the gridworld's wall border out of observations.", True)
    timeout_terminates: bool = _field("Treat time-outs as terminations, as published.", True)
    log_interval: Positive = _field("Outer steps between host round trips.")
    checkpoint_interval: Positive = _field("Outer steps between checkpoints.")
    max_skipped: Positive = _field("Stop after so many non-finite meta-gradients in a row.", 10)

    @pydantic.model_validator(mode="after")
    def _intervals(self) -> "Recipe":
        if self.checkpoint_interval % self.log_interval:
            raise ValueError("checkpoint_interval must be a multiple of log_interval")
        if self.outer_steps % self.checkpoint_interval:
            raise ValueError("outer_steps must be a multiple of checkpoint_interval")
        if self.resets == "synchronous" and self.reset_interval >= self.outer_steps:
            raise ValueError("synchronous resets need a reset_interval below outer_steps")
        if "name" not in self.optimizer:
            raise ValueError("optimizer needs a name")
        names = [task.label for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"tasks names a task twice: {', '.join(sorted(names))}")
        if self.estimator != "truncated_gradient" and self.agents % 2:
            raise ValueError(f"estimator {self.estimator} needs an even number of agents")
        if self.segment is not None and self.unroll % self.segment:
            raise ValueError("segment must divide unroll")
        return self


class Baselines(Model):
    """Classical optimizers and how each is tuned."""

    optimizers: list[Name] = _field("Classical optimizers; adam sets the score's unit.")
    learning_rates: list[PositiveFloat] = _field("Grid, the same for every optimizer.")
    tuning_seeds: Positive = _field("Seeds of each grid point; not those of the final curves.")
    seeds: Positive = _field("Seeds of the final learning curves.")


class Select(Model):
    """Checkpoint selection."""

    recipe: Name = _field("Recipe whose checkpoints compete.")
    tasks: list[Name] = _field("Validation tasks.", min_length=1)
    seeds: Positive = _field("Agents per checkpoint and task.")
    meta_seeds: list[Annotated[int, pydantic.Field(ge=0)]] | None = _field(
        "Seeds of its meta-training, all of whose checkpoints compete; none for `meta_seeds`.", None
    )


class PPOBudget(Model):
    """PPO settings of one scale that replace the published ones of a task; none keeps them."""

    environments: Positive | None = _field("Parallel environments.", None)
    batch_size: Positive | None = _field("Unrolls per minibatch.", None)
    minibatches: Positive | None = _field("Minibatches per epoch.", None)
    unroll_length: Positive | None = _field("Environment steps per unroll.", None)
    epochs: Positive | None = _field("Passes over each batch.", None)
    clip: PositiveFloat | None = _field("Bound on the probability ratio.", None)
    discount: Fraction | None = _field("Discount factor.", None)
    entropy_weight: Annotated[float, pydantic.Field(ge=0)] | None = _field(
        "Weight of the entropy bonus.", None
    )
    reward_scale: PositiveFloat | None = _field("Multiplies the rewards.", None)
    policy_layers: list[Positive] | None = _field("Hidden sizes of the policy network.", None)
    value_layers: list[Positive] | None = _field("Hidden sizes of the value network.", None)
    activation: Literal["swish", "relu", "tanh"] | None = _field("Of both networks.", None)
    action_repeat: Positive | None = _field("Physics steps per action.", None)
    truncation: Literal["bootstrap", "mask"] | None = _field(
        "At time limits: add the value of what was cut off, or leave the step out.", None
    )
    env_steps: Positive | None = _field("Environment steps of a lifetime.", None)
    episode_length: Positive | None = _field("Steps until an episode is truncated.", None)


class Transfer(Model):
    """Transfer evaluation with PPO."""

    tasks: list[Name] = _field("Test tasks.", min_length=1)
    tuning_tasks: list[Name] = _field(
        "Validation tasks on which every optimizer's learning rate is chosen.", min_length=1
    )
    recipes: list[Name] = _field(
        "More learned optimizers to compare with: recipes, each with the last checkpoint of its "
        "first seed.",
        [],
    )
    backend: Literal["spring", "generalized", "positional", "mjx"] = _field("Physics backend.")
    learning_rates: list[PositiveFloat] = _field("Grid, the same for every optimizer.")
    tuning_seeds: Positive = _field("Seeds of each grid point.")
    tuning_env_steps: Positive = _field("Environment steps of a tuning lifetime.")
    oracle: bool = _field(
        "Also tune on the test task itself, with the same budget, as a row of its own.", False
    )
    seeds: Positive = _field("Seeds on each test task.")
    points: Positive = _field("Points of a learning curve.", 10)
    episodes: Positive = _field("Deterministic evaluation episodes per point.", 16)
    ppo: PPOBudget = _field("Replaces published PPO settings.", PPOBudget())
    variants: dict[Name, PPOBudget] = _field(
        "Agents off the preset, by name, as further replacements; `transfer_variants` trains them.",
        {},
    )
    variant_tasks: list[Name] = _field("Test tasks on which variants are trained.", [])


class Ablation(Model):
    """One ablation: recipes that differ in one thing."""

    question: str = _field("What the comparison answers, for the report.")
    recipes: dict[Name, str] = _field("Recipes, with what the report calls each.", min_length=2)


class Sweep(Model):
    """A sweep: runs of one recipe that differ in what a table says."""

    recipe: Name = _field("What every run starts from.")
    table: str = _field(
        "Tab-separated file; columns are keys of a recipe (`a.b` for nested ones), or `seed`."
    )
    one_program: bool = _field(
        "Rows that can share a compiled program run side by side in one job; else a job each.", True
    )
    checkpoints: Literal["all", "last"] = _field("Of each row, those that are scored.", "all")
    devices: Positive = _field("Devices, on a CPU cores, that share the rows of one job.", 1)


class Config(Model):
    """The whole pipeline at one scale."""

    scale: Name = _field("Named set of budgets: smoke, quick or paper, or a file of your own.")
    meta_seeds: list[Annotated[int, pydantic.Field(ge=0)]] = _field(
        "Seeds of the meta-training of every recipe.", [0], min_length=1
    )
    toy_tasks: dict[Name, ToyBudget] = _field("Toy tasks in use, with their budgets.")
    recipes: dict[Name, Recipe] = _field("Meta-training recipes by name.")
    baselines: Baselines
    select: Select
    transfer: Transfer
    ablations: dict[Name, Ablation]
    sweeps: dict[Name, Sweep] = _field("Sweeps by name; `sweep_<name>` runs one.", {})
    evaluation_seeds: Positive = _field("Agents per optimizer and task in the ablations.")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Config":
        for where, recipe in self._recipe_references():
            if recipe not in self.recipes:
                known = ", ".join(sorted(self.recipes))
                raise ValueError(f"{where}: unknown recipe '{recipe}'; known: {known}")
        training = {task.task for recipe in self.recipes.values() for task in recipe.tasks}
        validation = set(self.select.tasks)
        test = {*self.transfer.tasks, *self.transfer.variant_tasks}
        _disjoint("meta-training set", training, "validation tasks (select.tasks)", validation)
        _disjoint("validation tasks (select.tasks)", validation, "test tasks", test)
        _disjoint("meta-training set", training, "test tasks (transfer.tasks)", test)
        _disjoint("transfer.tuning_tasks", set(self.transfer.tuning_tasks), "test tasks", test)
        missing = sorted((training | validation) - set(self.toy_tasks))
        if missing:
            raise ValueError(f"toy_tasks lacks the budget of {', '.join(missing)}")
        if "adam" not in self.baselines.optimizers:
            raise ValueError("baselines.optimizers must hold adam, the unit of the scores")
        return self

    def _recipe_references(self) -> list[tuple[str, str]]:
        named = [("select.recipe", self.select.recipe)]
        named += [("transfer.recipes", recipe) for recipe in self.transfer.recipes]
        named += [(f"sweeps.{name}.recipe", sweep.recipe) for name, sweep in self.sweeps.items()]
        for name, ablation in self.ablations.items():
            named += [(f"ablations.{name}.recipes", recipe) for recipe in ablation.recipes]
        return named

    def get_recipe(self, name: str) -> Recipe:
        """Return a recipe by name.

        Raises:
            L2OError: It is unknown; the message gives the nearest valid one.
        """
        if name not in self.recipes:
            raise unknown_name("recipe", name, self.recipes)
        return self.recipes[name]

    @property
    def selection_seeds(self) -> list[int]:
        """Meta-training seeds whose checkpoints compete."""
        return self.select.meta_seeds or self.meta_seeds

    def training_seeds(self, recipe: str) -> list[int]:
        """Return the seeds with which a recipe is meta-trained."""
        selected = self.selection_seeds if recipe == self.select.recipe else []
        return sorted({*self.meta_seeds, *selected})

    @property
    def toy_evaluation_tasks(self) -> list[str]:
        """Meta-training tasks of the selected recipe, then validation tasks."""
        training = [task.task for task in self.recipes[self.select.recipe].tasks]
        return [*training, *self.select.tasks]


def _disjoint(name_a: str, a: set[str], name_b: str, b: set[str]) -> None:
    if common := sorted(a & b):
        raise ValueError(f"{name_a} and {name_b} overlap: {', '.join(common)}")

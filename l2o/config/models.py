"""The settings that a configuration holds, typed and validated.

Imports no jax: the Snakefile and ``l2o --help`` stay fast.
"""

from typing import Annotated, Literal

import pydantic

from l2o.choices import CLASSICAL_OPTIMIZERS, TOY_TASKS, TRIALS
from l2o.config.analysis import Analysis, GradientSource
from l2o.config.base import Model, Name, Positive, PositiveFloat, field
from l2o.config.budgets import Pretrained, ToyBudget
from l2o.config.checks import check_name, check_names, check_ppo, check_sets
from l2o.config.recipe import Recipe
from l2o.config.transfer import Transfer
from l2o.errors import look_up


class Baselines(Model):
    """Classical optimizers and how each is tuned."""

    optimizers: list[Name] = field("Classical optimizers; adam sets the score's unit.")
    learning_rates: list[PositiveFloat] = field("Grid, the same for every optimizer.", min_length=1)
    tuning_seeds: Positive = field("Seeds of each grid point; not those of the final curves.")
    seeds: Positive = field("Seeds of the final learning curves.")


class Select(Model):
    """Checkpoint selection."""

    recipe: Name = field("Recipe whose checkpoints compete.")
    tasks: list[Name] = field("Validation tasks.", min_length=1)
    seeds: Positive = field("Agents per checkpoint and task.")
    meta_seeds: list[Annotated[int, pydantic.Field(ge=0)]] | None = field(
        "Seeds of its meta-training, all of whose checkpoints compete; none for `meta_seeds`.", None
    )


class Ablation(Model):
    """One ablation: recipes that differ in one thing."""

    question: str = field("What the comparison answers, for the report.")
    recipes: dict[Name, str] = field(
        "Recipes or pretrained optimizers, with what the report calls each; the full method first.",
        min_length=2,
    )
    tasks: list[Name] = field(
        "Further tasks on which all are compared: of PPO, never trained on, or supervised.", []
    )
    part_of_all: bool = field("Run it with the whole pipeline, not only as a target.", True)
    factors: dict[Name, list[Name]] = field(
        "Of a full factorial design: by factor, the recipes in which it is present.", {}
    )

    @pydantic.model_validator(mode="after")
    def _factorial(self) -> "Ablation":
        unknown = {name for present in self.factors.values() for name in present} - set(
            self.recipes
        )
        if unknown:
            raise ValueError(f"factors: not in recipes: {', '.join(sorted(unknown))}")
        found = [tuple(name in one for one in self.factors.values()) for name in self.recipes]
        if self.factors and not len(set(found)) == len(found) == 2 ** len(self.factors):
            raise ValueError("factors: every combination must be there in exactly one recipe")
        return self


class Sweep(Model):
    """A sweep: runs of one recipe that differ in what a table says."""

    recipe: Name = field("What every run starts from.")
    table: str = field(
        "Tab-separated file; columns are keys of a recipe (`a.b` for nested ones), or `seed`."
    )
    one_program: bool = field(
        "Rows that can share a compiled program run side by side in one job; else a job each.", True
    )
    checkpoints: Literal["all", "last"] = field("Of each row, those that are scored.", "all")
    devices: Positive = field("Devices, on a CPU cores, that share the rows of one job.", 1)


class Config(Model):
    """The whole pipeline at one scale."""

    scale: Name = field("Named set of budgets: smoke, quick or paper, or a file of your own.")
    meta_seeds: list[Annotated[int, pydantic.Field(ge=0)]] = field(
        "Seeds of the meta-training of every recipe.", [0], min_length=1
    )
    toy_tasks: dict[Name, ToyBudget] = field("Toy tasks in use, with their budgets.")
    recipes: dict[Name, Recipe] = field("Meta-training recipes by name.")
    pretrained: dict[Name, Pretrained] = field("Learned optimizers from elsewhere, by name.", {})
    baselines: Baselines
    select: Select
    transfer: Transfer
    ablations: dict[Name, Ablation]
    analysis: Analysis = Analysis()
    sweeps: dict[Name, Sweep] = field("Sweeps by name; `sweep_<name>` runs one.", {})
    evaluation_seeds: Positive = field(
        "Agents per meta-training run and toy task in the ablations."
    )
    evaluation_ppo_seeds: Positive = field(
        "Agents per meta-training run and task of PPO in the ablations."
    )
    trial: Literal[*TRIALS] | None = field(
        "Set by the workflow: results of this configuration are those of a trial of the scale.",
        None,
    )

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Config":
        if both := sorted(set(self.recipes) & set(self.pretrained)):
            raise ValueError(f"pretrained: {', '.join(both)} is the name of a recipe")
        for where, recipe, allowed in self._recipe_references():
            if recipe not in allowed:
                known = ", ".join(sorted(allowed))
                raise ValueError(f"{where}: unknown recipe '{recipe}'; known: {known}")
        check_names(self)
        check_sets(self)
        check_ppo(self)
        unknown = sorted(set(self.analysis.identity.sources) - set(self.analysis.sources))
        if unknown:
            known = ", ".join(sorted(self.analysis.sources)) or "none"
            raise ValueError(
                f"analysis.identity.sources: unknown {', '.join(unknown)}; known: {known}"
            )
        if "adam" not in self.baselines.optimizers:
            raise ValueError("baselines.optimizers must hold adam, the unit of the scores")
        names = self.baselines.optimizers
        check_name("baselines.optimizers", "classical optimizer", names, CLASSICAL_OPTIMIZERS)
        return self

    def _recipe_references(self) -> list[tuple[str, str, set[str]]]:
        """Return where a recipe is named, which, and what may stand there."""
        recipes = set(self.recipes)
        named = [("select.recipe", self.select.recipe)]
        named += [("transfer.recipes", recipe) for recipe in self.transfer.recipes]
        named += [(f"sweeps.{name}.recipe", sweep.recipe) for name, sweep in self.sweeps.items()]
        compared = [
            (f"ablations.{name}.recipes", recipe, recipes | set(self.pretrained))
            for name, ablation in self.ablations.items()
            for recipe in ablation.recipes
        ]
        return [(where, recipe, recipes) for where, recipe in named] + compared

    def get_recipe(self, name: str) -> Recipe:
        """Return a recipe by name.

        Raises:
            L2OError: It is unknown; the message gives the nearest valid one.
        """
        return look_up("recipe", name, self.recipes)

    def get_ablation(self, name: str) -> Ablation:
        """Return an ablation by name.

        Raises:
            L2OError: It is unknown; the message gives the nearest valid one.
        """
        return look_up("ablation", name, self.ablations)

    def get_source(self, name: str) -> GradientSource:
        """Return a source of gradients by name.

        Raises:
            L2OError: It is unknown; the message gives the nearest valid one.
        """
        return look_up("source", name, self.analysis.sources)

    @property
    def selection_seeds(self) -> list[int]:
        """Meta-training seeds whose checkpoints compete."""
        return self.select.meta_seeds or self.meta_seeds

    @property
    def usual_ablations(self) -> list[str]:
        """Names of the ablations that are part of the whole pipeline."""
        return [name for name, ablation in self.ablations.items() if ablation.part_of_all]

    @property
    def usual_recipes(self) -> list[str]:
        """Names of the recipes that the whole pipeline meta-trains, in their order."""
        used = {self.select.recipe, *self.transfer.recipes}
        used |= {recipe for name in self.usual_ablations for recipe in self.ablations[name].recipes}
        return [recipe for recipe in self.recipes if recipe in used]

    def training_seeds(self, recipe: str) -> list[int]:
        """Return the seeds with which a recipe is meta-trained."""
        selected = self.selection_seeds if recipe == self.select.recipe else []
        compared = any(recipe in ablation.recipes for ablation in self.ablations.values())
        return sorted({*selected, *(self.meta_seeds if compared or not selected else [])})

    @property
    def training_tasks(self) -> list[str]:
        """Meta-training tasks of the selected recipe."""
        return [task.task for task in self.recipes[self.select.recipe].tasks]

    @property
    def toy_evaluation_tasks(self) -> list[str]:
        """Toy tasks among those of the selected recipe's meta-training, then validation tasks."""
        training = [task for task in self.training_tasks if task in TOY_TASKS]
        return [*training, *self.select.tasks]

    def role(self, task: str) -> str:
        """Return what a task is for, one of ``ROLES``."""
        if task in self.training_tasks:
            return "training"
        if task in self.select.tasks:
            return "validation"
        return "supervised" if task in self.toy_tasks else "test"

"""Budgets and weights that stages get as they are in the configuration."""

from l2o.config.base import Model, Positive, PositiveFloat, Torso, field


class ToyBudget(Model):
    """How long A2C agents are trained on a toy task when optimizers are evaluated."""

    environments: Positive = field("Parallel environments of one agent.")
    updates: Positive = field("Agent updates of one lifetime.")
    points: Positive = field("Points of a learning curve.", 20)
    torso: Torso | None = field("Network torso; none for the published one.", None)


class Pretrained(Model):
    """A learned optimizer from elsewhere, to be compared with."""

    weights: str = field("Weight file, see `l2o import-weights`.")
    learning_rate: PositiveFloat = field("Its learning rate.", 1.0)

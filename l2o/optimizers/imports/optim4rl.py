"""Weights of the reference implementation of Optim4RL (github.com/sail-sg/optim4rl)."""

from l2o.optimizers.imports import recurrent
from l2o.optimizers.imports.conversion import mirrored
from l2o.optimizers.imports.learned_optimization import haiku_name, mlp_hyperparameters

CONVERSIONS = {
    **recurrent.CONVERSIONS,
    "star": mirrored(mlp_hyperparameters, haiku_name),
}

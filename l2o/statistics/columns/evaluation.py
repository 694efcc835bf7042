"""Columns of the tables that stages with agents write. Imports nothing."""

CURVE_COLUMNS = {
    "task": "name of the task",
    "optimizer": "label of the optimizer",
    "learning_rate": "its learning rate",
    "seed": "seed of the agent and its environments, shared by all optimizers",
    "update": "agent updates so far",
    "env_steps": "environment steps so far",
    "return": "mean undiscounted return of the episodes measured at this point, NaN without any",
    "episodes": "how many episodes that is",
}
CONTROL_COLUMNS = CURVE_COLUMNS | {
    "tuning": "where the learning rate is from: none (that of meta-training) or oracle (the task)"
}
LEVEL_COLUMNS = CURVE_COLUMNS | {"meta_seed": "seed of the meta-training, -1 of a pretrained one"}
TUNING_COLUMNS = {
    "task": "name of the task",
    "optimizer": "label of the optimizer",
    "learning_rate": "a rate of the grid",
    "mean": "mean final return over seeds, NaN if any agent diverged",
    "seeds": "how many",
}
COST_COLUMNS = {
    "task": "name of the task",
    "optimizer": "label of the optimizer",
    "seconds": "seconds per million environment steps of one agent: acting, learning, evaluation; "
    "classical optimizers share a program, and this number",
    "share": "share of them spent in the optimizer, timed alone on the agent's parameters",
    "peak_bytes": "memory of learning per agent, as compiled; likewise shared",
}
CHECKPOINT_COLUMNS = {
    "task": "name of the validation task",
    "meta_seed": "seed of the meta-training",
    "step": "outer steps that it had taken",
    "final": "mean final return over seeds",
    "se": "standard error of the mean",
    "seeds": "how many",
    "score": "final, scaled so that 0 is the random policy and 1 is tuned Adam",
}
"""Of the checkpoints that the champion is selected from."""

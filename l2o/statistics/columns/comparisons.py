"""Columns of the tables that compare what was evaluated. Imports no jax."""

from l2o.statistics.columns.evaluation import LEVEL_COLUMNS

# All test tasks together.
SCORE_COLUMNS = {
    "task": "name of the task",
    "optimizer": "label of the optimizer",
    "seed": "seed of the agent and its environments, shared by all optimizers",
    "lost": "whether the agent diverged: it counts as a failure from there on",
    "final": "final return; of a lost agent that of the random policy, or its own worst if lower",
    "area": "mean return over the curve, the area under it per point",
    "final_score": "final, scaled so that 0 is the random policy and 1 is tuned Adam",
    "area_score": "area, scaled so that 0 is the random policy's and 1 is tuned Adam's",
}
AGGREGATE_COLUMNS = {
    "optimizer": "label of the optimizer",
    "score": "what is aggregated: final or area",
    "metric": "iqm, median (of the tasks' means), optimality_gap (below a score of 1) or mean",
    "estimate": "the aggregate over seeds and tasks",
    "low": "lower end of its 95% interval, NaN with fewer than three seeds",
    "high": "upper end",
    "seeds": "seeds on each task",
    "tasks": "how many tasks",
    "lost": "how many of seeds x tasks were lost",
}
PROFILE_COLUMNS = {
    "optimizer": "label of the optimizer",
    "threshold": "a final score",
    "share": "share of seeds and tasks with a higher one",
    "low": "lower end of its pointwise 95% interval, NaN with fewer than three seeds",
    "high": "upper end",
}
IMPROVEMENT_COLUMNS = {
    "optimizer": "label of the optimizer that the champion is compared with",
    "score": "what is compared: final or area",
    "probability": "that the champion's score is higher on a task, ties half, mean over tasks",
    "low": "lower end of its 95% interval, NaN with fewer than three seeds",
    "high": "upper end",
}
EFFICIENCY_COLUMNS = {
    "optimizer": "label of the optimizer",
    "share": "share of the lifetime, in environment steps",
    "iqm": "interquartile mean of the scores there, in the unit of the final score",
    "low": "lower end of its pointwise 95% interval, NaN with fewer than three seeds",
    "high": "upper end",
}
SUMMARY_TABLES = {
    "scores": SCORE_COLUMNS,
    "aggregates": AGGREGATE_COLUMNS,
    "profiles": PROFILE_COLUMNS,
    "improvement": IMPROVEMENT_COLUMNS,
    "efficiency": EFFICIENCY_COLUMNS,
}
"""Tables of the stage `transfer-summary`, with their columns."""

# Ablations.
ABLATION_COLUMNS = {
    "task": "name of the task",
    "mean": "mean final return over agents",
    "se": "standard error of the mean",
    "low": "lower end of its 95% interval over agents, NaN with fewer than three",
    "high": "upper end",
    "seeds": "agents",
    "level": "what the report calls the level",
    "recipe": "its recipe, or the name of a pretrained optimizer",
    "meta_seed": "seed of the meta-training, -1 of a pretrained optimizer",
    "checkpoint": "trained (the last checkpoint) or untrained (the first)",
    "role": "what the task serves for: training, validation, test or supervised",
}
"""Final returns of every level on every task."""
ABLATION_CURVE_COLUMNS = LEVEL_COLUMNS | {
    name: ABLATION_COLUMNS[name] for name in ("level", "recipe", "checkpoint")
}
EFFECT_COLUMNS = {
    "role": "of the tasks: training (in meta-training), validation, test (of PPO) or supervised",
    "recipe": "the level's recipe, or the name of a pretrained optimizer",
    "level": "what the report calls the level",
    "iqm": "interquartile mean of its final scores: 0 is the random policy, 1 is tuned Adam",
    "iqm_low": "lower end of its 95% interval, see l2o.statistics.bootstrap; NaN with fewer than "
    "three meta-training runs",
    "iqm_high": "upper end",
    "difference": "iqm minus that of the full method, the ablation's first recipe",
    "low": "lower end of its 95% interval",
    "high": "upper end",
    "probability": "that an agent of this level scores higher than one of the full method",
    "probability_low": "lower end of its 95% interval",
    "probability_high": "upper end",
    "meta_seeds": "meta-training runs; agents if it is pretrained, which are then resampled alone",
    "agents": "agents of each run on each task",
    "tasks": "how many",
}
FACTOR_COLUMNS = {
    "role": "of the tasks, see EFFECT_COLUMNS",
    "term": "a factor, or factors joined by ' x ': their interaction",
    "effect": "IQM with the factor minus IQM without it, mean over the levels of the others; of an "
    "interaction half the difference of that between levels of the other factor",
    "low": "lower end of its 95% interval, NaN with fewer than three meta-training runs",
    "high": "upper end",
    "recipes": "how many are compared",
    "meta_seeds": "meta-training runs of each",
}

CLAIM_COLUMNS = {
    "claim": "what is claimed",
    "measurement": "what was measured",
    "value": "the measurement",
    "low": "lower end of its 95% interval",
    "high": "upper end",
    "against": "what it must exceed: the same of the reference, or a number",
    "against_low": "lower end of its 95% interval; a number's is itself",
    "against_high": "upper end",
    "seeds": "agents, networks, populations or meta-training runs behind the interval",
    "verdict": "supported: the interval lies above that of the reference; not supported: below it; "
    "inconclusive: they overlap, or there is none",
}
"""Of the report's table of claims."""

"""Columns of the tables of recorded gradients and of their studies. Imports no jax."""

PHASES = ("beginning", "middle", "end")
"""Equal parts of a lifetime, and the points of it at which noise is measured."""
BIN_WIDTH = 0.1
"""Of the histograms of log10 |g|."""

# What is recorded.
HISTOGRAM_COLUMNS = {
    "source": "name of the source",
    "agent": "seed of the agent",
    "phase": "third of the lifetime: beginning, middle or end",
    "tensor": "tensor of the agent's parameters",
    "sign": "-1 or 1",
    "exponent": "lower edge of a bin of log10 |g|",
    "count": "gradient values of that sign in the bin",
}
TENSOR_COLUMNS = {
    "source": "name of the source",
    "agent": "seed of the agent",
    "phase": "third of the lifetime",
    "tensor": "tensor of the agent's parameters",
    "values": "gradient values seen",
    "zeros": "how many are exactly zero",
    "lost": "how many are not finite",
}
TIME_COLUMNS = {
    "source": "name of the source",
    "agent": "seed of the agent",
    "phase": "third of the lifetime",
    "lag": "optimizer steps between two gradients",
    "cosine": "mean cosine between them",
    "correlation": "mean correlation, over coordinates, of their log magnitudes",
}
NOISE_COLUMNS = {
    "source": "name of the source",
    "agent": "seed of the agent",
    "moment": "point of the lifetime: beginning, middle or end",
    "tensor": "tensor of the agent's parameters, or all",
    "examples": "environment steps, or images, in one gradient",
    "gradients": "gradients at fixed parameters",
    "signal": "squared norm of the true gradient, unbiased (may be negative)",
    "noise": "trace of the covariance of one gradient",
    "clear": "share of coordinates whose true gradient is told from 0 (95%) by all of them",
    "bias_cosine": "A2C, all tensors: cosine between the true gradient of the actor's loss and that"
    " with Monte Carlo returns (lambda 1, ten times longer rollouts), else NaN",
}
POPULATION_COLUMNS = {
    "scheme": "when agents are reset: staggered is pipeline training",
    "population": "seed of the population",
    "outer_step": "outer steps taken before",
    "exponent": "lower edge of a bin of log10 |g|",
    "count": "gradient values, of all agents in the outer steps of this row, in the bin",
}
IDENTITY_COLUMNS = {
    "source": "name of the recorded source",
    "processing": "gradient processing of the network's input and output",
    "learning_rate": "Adam's, of this network",
    "seed": "seed of the network",
    "chosen": "whether the learning rate is the best one in training, on average over seeds",
    "train": "accuracy on the agents trained on: share of outputs within 10% of a gradient not 0",
    "test": "accuracy on an agent that is left out",
}
RECORDING_TABLES = {
    "histograms": HISTOGRAM_COLUMNS,
    "tensors": TENSOR_COLUMNS,
    "time": TIME_COLUMNS,
    "noise": NOISE_COLUMNS,
}
"""Tables of a recorded source, with their columns."""

# What follows from it.
RANGE_COLUMNS = {
    "source": "name of the source",
    "phase": "third of the lifetime",
    "tensor": "tensor of the agents' parameters, or all",
    "q001": "0.1% quantile of log10 |g| where g is not 0, all agents together; likewise q01",
    "q01": "",
    "median": "",
    "q99": "",
    "q999": "",
    "decades": "q999 - q001 of one agent, mean over agents",
    "low": "lower end of its 95% interval, NaN with fewer than three agents",
    "high": "upper end",
    "zeros": "share of values that are exactly zero",
    "agents": "how many",
}
DISTANCE_COLUMNS = {
    "source": "name of the source",
    "compared": "two phases of one agent, or two agents in one phase",
    "distance": "Wasserstein-1 distance of the distributions of log10 |g|, in decades, mean",
    "low": "lower end of its 95% interval over agents, NaN with fewer than three",
    "high": "upper end",
    "agents": "how many",
}
VARIANCE_COLUMNS = {
    "source": "name of the source",
    "phase": "third of the lifetime",
    "within": "variance of log10 |g| of one agent, mean over agents",
    "between": "variance over agents of its mean",
    "agents": "how many",
}
AUTOCORRELATION_COLUMNS = {
    "source": "name of the source",
    "phase": "third of the lifetime",
    "lag": "optimizer steps between two gradients",
    "measure": "cosine of the gradients, or correlation of their log magnitudes",
    "estimate": "mean over time and agents",
    "low": "lower end of its 95% interval over agents, NaN with fewer than three",
    "high": "upper end",
    "agents": "how many",
}
SIGNAL_COLUMNS = {
    "source": "name of the source",
    "moment": "point of the lifetime",
    "measure": "snr (squared norm of the true gradient / trace of a gradient's covariance), "
    "noise_scale (examples in a batch for an snr of 1), clear or bias_cosine",
    "estimate": "of all agents: ratio of their means, or mean",
    "low": "lower end of its 95% interval over agents, NaN with fewer than three",
    "high": "upper end",
    "examples": "environment steps, or images, in one gradient",
    "agents": "how many",
}
DRIFT_COLUMNS = {
    "scheme": "when agents are reset: staggered is pipeline training",
    "outer_step": "outer steps taken before; the histogram covers some more",
    "distance": "Wasserstein-1 distance, in decades, between the log10 |g| seen there and those "
    "of all ages alike (of the staggered population after its first interval), mean",
    "low": "lower end of its 95% interval over populations, NaN with fewer than three",
    "high": "upper end",
    "median": "of log10 |g|, mean over populations",
    "populations": "how many",
}
STUDY_TABLES = {
    "range": {"range": RANGE_COLUMNS},
    "non_iid": {
        "distances": DISTANCE_COLUMNS,
        "variances": VARIANCE_COLUMNS,
        "autocorrelation": AUTOCORRELATION_COLUMNS,
        "drift": DRIFT_COLUMNS,
    },
    "noise": {"signal": SIGNAL_COLUMNS},
}
"""Tables of every study, with their columns."""

"""Names that a configuration may choose between, each listed once. Imports nothing."""

ACTIVATIONS = ("elu", "gelu", "relu", "swish", "tanh")
"""Of PPO's networks, as :mod:`flax.linen` calls them."""
INITIALIZERS = ("lecun_uniform", "orthogonal")
"""Of PPO's networks."""
TRUNCATIONS = ("bootstrap", "mask")
"""What PPO does at time limits."""
TORSOS = ("D32", "D256", "C16-D32")
"""Of A2C's networks: dense layers of 32 or 256 units, or a convolution of 16 channels before."""

RESETS = ("staggered", "synchronous", "random", "none")
"""When agents of a population are reset; staggered is pipeline training."""
_DIFFERENTIABLE = ("agent_loss", "actor", "mean_agent_loss", "mean_actor")
_OF_UNROLLS = ("return", "mean_return", "agent_loss", "mean_agent_loss", "evaluation_return")
ESTIMATOR_OBJECTIVES = {
    "truncated_gradient": _DIFFERENTIABLE,
    "truncated_es": _OF_UNROLLS,
    "pes": _OF_UNROLLS,
    "full_es": ("final_return", "late_return", "lifetime_return", "evaluation_return"),
}
"""Of estimators of the meta-gradient, the objectives that each can use.

A return has no gradient; the value of the actor term, unlike its gradient, says nothing.
"""
ESTIMATORS = tuple(ESTIMATOR_OBJECTIVES)
"""Of the meta-gradient."""
OBJECTIVES = (
    "actor",
    "agent_loss",
    "mean_actor",
    "mean_agent_loss",
    "return",
    "mean_return",
    "final_return",
    "late_return",
    "lifetime_return",
    "evaluation_return",
)
"""What meta-training minimises or, as a return, maximises."""
TOY_OBJECTIVES = tuple(name for name in OBJECTIVES if name != "evaluation_return")
"""Of those, what populations of A2C agents and classifiers can do: they are not evaluated."""
PPO_OBJECTIVES = tuple(name for name in OBJECTIVES if name != "mean_return")
"""What PPO agents can do: episodes do not end with an inner step."""
SHAPINGS = ("none", "standardise", "ranks")
"""How evolution strategies normalise a task's losses."""

CLASSICAL_OPTIMIZERS = (
    *("adam", "adam_decay", "adamw", "lion", "momentum", "rmsprop", "sgd", "sign"),
)
"""Optimizers whose learning rate is tuned."""
LEARNED_OPTIMIZERS = (
    *("celo2", "l2lgd2", "linear", "open", "optim4rl_a", "optim4rl_b", "optim4rl_m"),
    *("small_fc", "star", "tensor_rule", "velo"),
)
"""Optimizers that a recipe can meta-train."""

BACKENDS = ("spring", "generalized", "positional", "mjx")
"""Brax's physics."""
BRAX_BACKENDS: dict[str, tuple[str, ...]] = {
    "ant": BACKENDS,
    "halfcheetah": BACKENDS,
    "hopper": BACKENDS,
    "humanoid": BACKENDS,
    "humanoidstandup": BACKENDS,
    "inverted_double_pendulum": BACKENDS,
    "inverted_pendulum": BACKENDS,
    "pusher": BACKENDS,
    "reacher": BACKENDS,
    "walker2d": BACKENDS,
}
"""Brax environments, all with continuous actions, that PPO learns: the physics they work with."""
BRAX_TASKS = tuple(BRAX_BACKENDS)
BROKEN_TASKS = {
    "swimmer": "works on no backend of this version of Brax",
}
"""Tasks that somebody may look for, and why there are none: see docs/tasks.md."""
GRIDWORLDS = (
    *("big_dense_long", "big_dense_short", "big_sparse_long", "big_sparse_short"),
    *("small_dense_long", "small_dense_short", "small_sparse_long", "small_sparse_short"),
    *("gridworld_family", "gridworld_family_small"),
)
"""Gridworlds, and families of them."""
TOY_TASKS = (*GRIDWORLDS, "catch", "digits")
"""Learned by A2C or, if they are supervised, by a classifier."""
SUPERVISED_TASKS = ("digits",)
"""Toy tasks that are no reinforcement learning."""

DENSE_TASKS = ("catch", "digits")
"""Toy tasks whose observations no convolution fits."""

GYMNAX_TASKS = {
    "acrobot": "Acrobot-v1",
    "cartpole": "CartPole-v1",
    "minatar_asterix": "Asterix-MinAtar",
    "minatar_breakout": "Breakout-MinAtar",
    "minatar_freeway": "Freeway-MinAtar",
    "minatar_seaquest": "Seaquest-MinAtar",
    "minatar_spaceinvaders": "SpaceInvaders-MinAtar",
    "mountaincar": "MountainCar-v0",
    "mountaincar_continuous": "MountainCarContinuous-v0",
    "pendulum": "Pendulum-v1",
    "point_robot": "PointRobot-misc",
    "two_link_reacher": "Reacher-misc",
    "ppo_catch": "Catch-bsuite",
} | {f"ppo_{name}": name for name in GRIDWORLDS}
"""gymnax environments that PPO learns: their names in gymnax.

``ppo_`` stands before those that A2C learns too.
"""
PPO_TASKS = (*BRAX_TASKS, *GYMNAX_TASKS)
"""All that PPO learns."""

STUDIES = ("range", "non_iid", "noise")
"""Of recorded gradients."""
ROLES = ("training", "validation", "test", "supervised")
"""What tasks are for: those of meta-training, of selection, never seen, of supervised learning."""
TRIALS = ("rehearsal", "miniature")
"""Of a whole scale: everything once at its own sizes, or everything at the least sizes."""

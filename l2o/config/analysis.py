"""Settings of the gradient studies."""

from l2o.config.base import Model, Name, Positive, PositiveFloat, field


class GradientSource(Model):
    """Agents whose gradients are recorded while Adam trains them."""

    task: Name = field("A toy task, supervised or not, or one that PPO learns.")
    learning_rate: PositiveFloat = field("Adam's.", 0.01)


class Drift(Model):
    """Populations whose gradients are recorded as meta-training would see them."""

    task: Name = field("Toy task.", "small_dense_short")
    learning_rate: PositiveFloat = field("Adam's.", 0.03)
    agents: Positive = field("Agents of a population.", 48)
    environments: Positive = field("Environments per agent.", 8)
    unroll: Positive = field("Inner steps per outer step.", 4)
    reset_interval: Positive = field("Outer steps of one lifetime.", 100)
    outer_steps: Positive = field("Outer steps.", 300)
    every: Positive = field("Outer steps that share a histogram.", 10)
    seeds: Positive = field("Populations per reset scheme.", 3)


class Identity(Model):
    """Networks that learn to output their input."""

    sources: list[Name] = field("Recordings that they learn.", [])
    learning_rates: list[PositiveFloat] = field(
        "Adam's grid, the same for every gradient processing; chosen on what is trained on.",
        [0.003, 0.01, 0.03],
        min_length=1,
    )
    tuning_seeds: Positive = field("Networks of each learning rate.", 2)
    seeds: Positive = field("Networks of the one that is chosen.", 5)
    steps: Positive = field("Updates.", 3000)
    unroll: Positive = field("Gradients in a training sequence.", 8)
    coordinates: Positive = field("Coordinates in a batch.", 256)


class Analysis(Model):
    """Studies of gradients."""

    sources: dict[Name, GradientSource] = field("Whose gradients are recorded, by name.", {})
    seeds: Positive = field("Agents of each source.", 5)
    noise_gradients: Positive = field(
        "Gradients at fixed parameters from which the true gradient is estimated.", 256
    )
    window: Positive = field("Successive gradients kept per phase, for the identity task.", 64)
    coordinates: Positive = field("Coordinates of which they are kept.", 256)
    drift: Drift = Drift()
    identity: Identity = Identity()

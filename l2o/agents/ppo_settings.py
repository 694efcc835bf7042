"""PPO's hyperparameters. Imports no jax."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PPOSettings:
    """PPO hyperparameters of one task; defaults are shared by Brax's settings.

    Attributes:
        env_steps: Environment steps of a lifetime, repeated actions included as in Brax.
        environments: Parallel environments.
        batch_size: Unrolls per minibatch.
        unroll_length: Actions per unroll.
        epochs: Passes over each batch.
        discount: Discount factor per action.
        entropy_weight: Weight of the entropy bonus.
        reward_scale: Multiplies the rewards.
        learning_rate: Published learning rate of Adam.
        minibatches: Minibatches per epoch.
        gae_lambda: Lambda of generalised advantage estimation.
        clip: Bound on the probability ratio.
        value_weight: Weight of half the mean squared value error.
        max_grad_norm: The gradient of either network is scaled down to this global norm before
            the optimizer sees it; ``None`` leaves it alone.
        action_repeat: Environment steps per action.
        truncation: ``"bootstrap"`` adds the discounted value of the observation that a time limit
            cut off to the last reward; ``"mask"`` leaves the truncated step out of the policy
            loss and its value at what it is, as Brax does.
        activation: Activation of hidden layers, a name in ``ACTIVATIONS`` of
            :mod:`l2o.agents.ppo_networks`.
        initializer: ``"lecun_uniform"`` (Brax), or ``"orthogonal"`` with gain sqrt(2), 0.01 in
            the policy's last layer and 1 in the value network's.
        normalize_observations: By their running mean and standard deviation.
        deterministic_evaluation: Evaluate the mode of the policy; else actions are sampled.
        policy_layers: Hidden sizes of the policy network.
        value_layers: Hidden sizes of the value network.
        episode_length: Environment steps until an episode is truncated.
    """

    env_steps: int
    environments: int
    batch_size: int
    unroll_length: int
    epochs: int
    discount: float
    entropy_weight: float
    reward_scale: float
    learning_rate: float
    minibatches: int = 32
    gae_lambda: float = 0.95
    clip: float = 0.3
    value_weight: float = 0.5
    max_grad_norm: float | None = None
    action_repeat: int = 1
    truncation: str = "bootstrap"
    activation: str = "swish"
    initializer: str = "lecun_uniform"
    normalize_observations: bool = True
    deterministic_evaluation: bool = True
    policy_layers: tuple[int, ...] = (32,) * 4
    value_layers: tuple[int, ...] = (256,) * 5
    episode_length: int = 1000

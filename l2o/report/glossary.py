"""The words of the page."""

GLOSSARY = (
    ("agent", "A policy and a value network, trained by A2C (toy tasks) or PPO (Brax)."),
    ("task", "An environment, an agent algorithm and its hyperparameters."),
    ("optimizer", "What updates an agent's parameters: classical (optax) or learned."),
    ("meta-parameters", "The weights of a learned optimizer."),
    ("inner step", "One update of an agent."),
    ("outer step", "One update of the meta-parameters."),
    ("unroll length K", "Inner steps per outer step."),
    ("lifetime", "An agent's training from initialisation to reset."),
    ("pipeline training", "Agents are reset at staggered outer steps: all ages are present."),
    ("recipe", "All that defines one meta-training run, but for its seed."),
    ("checkpoint", "The meta-parameters after some outer step; step 0 is untrained."),
    ("champion", "The checkpoint chosen on the validation tasks."),
    ("scale", "A named set of budgets: smoke, quick, paper."),
    ("validation task", "Used to choose the champion, never to train or to test it."),
    ("test task", "Used only for the transfer comparison."),
    ("score", "A return on one task, scaled: 0 is the random policy, 1 is tuned Adam."),
    ("IQM", "Interquartile mean: the mean of the middle half of all scores."),
    ("optimality gap", "By how much scores stay below 1 on average; higher ones count as 1."),
    ("area", "Mean return over a whole learning curve: the area under it, per point."),
    ("final return", "Mean return over the end of a lifetime; see how to read the numbers."),
)

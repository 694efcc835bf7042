"""Meta-training: populations, meta-gradients, and the stage that runs a recipe."""

"""Gradient studies: what optimizers see of reinforcement and of supervised learning."""

"""Evaluation of optimizers, and the stages built on it."""

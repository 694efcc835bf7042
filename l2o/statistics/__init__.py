"""Scores, aggregates and intervals. Imports no jax."""

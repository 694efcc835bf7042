"""Stages as the workflow and the command line see them. Imports no jax."""

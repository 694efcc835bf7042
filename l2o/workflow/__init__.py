"""Stages as the Snakefile and the command line see them. Imports no jax."""

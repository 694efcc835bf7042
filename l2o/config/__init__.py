"""The configuration: what keys there are, reading it from files, the parts that stages get.

Imports no jax: the Snakefile stays fast.
"""

from l2o.config.files import build, dump, load, load_recipe, merge, parse, read_yaml, write

__all__ = ["build", "dump", "load", "load_recipe", "merge", "parse", "read_yaml", "write"]

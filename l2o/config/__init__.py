"""The configuration: what keys there are, reading it from files, the parts that stages get.

Imports no jax: the Snakefile stays fast.
"""

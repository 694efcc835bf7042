"""The steps of the workflow: a file for each, which is its word on the command line.

Each holds its contract (:class:`l2o.pipeline.contract.Stage`, called ``STAGE``) and what it runs.
Their top levels import no jax: the Snakefile and ``l2o --help`` read them.
"""

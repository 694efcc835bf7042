"""What people call by hand beside the stages: a file for each word of the command line.

Each has ``HELP``, ``add_arguments`` and ``run``; their top levels import no jax.
"""

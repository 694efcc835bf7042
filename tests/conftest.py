"""Settings of all tests, made before jax is imported."""

import os

# Most of the time of a test goes into compiling programs that run once; unoptimised code compiles
# in half of it. Processes that tests start inherit this.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

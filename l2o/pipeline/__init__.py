"""What stages are made of: the contract, jobs, options. Imports no jax."""

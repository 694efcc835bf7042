"""Columns of all tables, with what they mean. Imports no jax."""

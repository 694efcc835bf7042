"""Learned optimizers as optax transformations; imports nothing else of ours but file helpers."""

"""What learned optimizers are made of; no optimizer in itself."""

"""A2C and PPO as pure functions of their state."""

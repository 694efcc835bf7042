"""PPO with clipping."""

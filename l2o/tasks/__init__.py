"""Gridworlds as gymnax environments, Brax tasks, and a registry."""

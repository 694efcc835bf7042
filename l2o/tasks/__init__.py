"""Gridworlds and families of them as gymnax environments, tasks of PPO, and a registry."""

from l2o.tasks.lazy import postpone

postpone("matplotlib.pyplot", "seaborn")  # before any module here imports gymnax

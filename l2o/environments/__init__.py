"""Batches of environments: gridworlds and families of random ones, gymnax's, Brax's; digits."""

from l2o.environments.lazy import postpone

postpone("matplotlib.pyplot", "seaborn")  # before any module here imports gymnax

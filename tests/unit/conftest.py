"""What all unit tests share: how their programs, which run for moments, are compiled."""

import os
from pathlib import Path

# Compiling is most of what these tests do. Unoptimised code from XLA's older emitters takes a third
# of the time; a test for which it matters compiles as in use, and so does all of the smoke run.
FAST = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{FAST} {os.environ.get('XLA_FLAGS', '')}".strip()
# What one process has compiled, no other has to: workers, what they start, the next call. Small
# operations too: there are thousands.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[2] / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

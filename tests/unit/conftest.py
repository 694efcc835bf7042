"""What all unit tests share: how their programs, which run for moments, are compiled."""

import os
from pathlib import Path

from compiling import flags

# Compiling is most of what these tests do. Unoptimised code, from older emitters, takes a third of
# the time; a test for which it matters compiles as in use, and so does all of the smoke run.
FAST = flags(level=0, old_emitters=True)
os.environ["XLA_FLAGS"] = f"{FAST} {os.environ.get('XLA_FLAGS', '')}".strip()
# What one process has compiled, no other has to: workers, what they start, the next call. Small
# operations too: there are thousands.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[2] / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

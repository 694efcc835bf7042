"""Tasks by name: an agent's algorithm on an environment, with presets."""

import l2o.environments  # noqa: F401  (postpones what gymnax imports, before a module here does)

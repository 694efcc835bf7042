"""What to lower where a population does not fit memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2o.jobs.failures import lower

if TYPE_CHECKING:
    from l2o.config.recipe import Recipe


def less_memory(recipe: Recipe, prefix: str = "") -> list[str]:
    """Return what to try, the gentlest first.

    Args:
        recipe: What did not fit.
        prefix: Of its keys in the configuration.
    """
    found = []
    updates = [recipe.unroll * recipe.updates(task) for task in recipe.tasks]
    kept = recipe.segment or min(updates)
    if not recipe.needs_pairs and kept > 1:
        half = max(n for n in range(1, kept // 2 + 1) if not any(u % n for u in updates))
        found = [f"try {prefix}segment {half} instead of {recipe.segment} (same results, slower)"]
    pairs = 2 if recipe.needs_pairs else 1
    fewer = lower(f"{prefix}agents", recipe.agents, pairs)
    return found + (fewer or _fewer_environments(recipe, prefix))


def _fewer_environments(recipe: Recipe, prefix: str) -> list[str]:
    if any(task.is_toy for task in recipe.tasks):
        return lower(f"{prefix}environments", recipe.environments)
    most = max(recipe.settings(task).environments for task in recipe.tasks)
    return lower(f"{prefix}ppo.environments", most)

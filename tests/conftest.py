"""The order of the test files: with those that take longest first, all workers end together."""

from pathlib import Path

LONGEST = (
    "test_dag",
    "test_meta",
    "test_kills",
    "test_optimizers",
    "test_resume",
    "test_devices",
    "test_reads",
    "test_page",
    "test_distributed",
    "test_rivals",
    "test_analysis",
    "test_ppo",
    "test_gridworlds",
    "test_sweeps",
    "test_agents",
    "test_interrupts",
)


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(Path(item.path).stem, len(LONGEST)))

"""The order of the test files: with those that take longest first, all workers end together."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)

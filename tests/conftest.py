"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine fails nothing.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    """The longest files first, so that two workers end at about the same time."""
    items.sort(key=lambda item: item.path.parent.name != "stages")

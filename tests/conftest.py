"""What holds for all tests."""

from collections.abc import Callable
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

# A busy machine fails nothing.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    """The longest files first, so that two workers end at about the same time."""
    items.sort(key=lambda item: item.path.parent.name != "stages")


@pytest.fixture
def killed_after(monkeypatch) -> Callable:
    """killed_after(module, saves): a block that ends when `module` has saved so many checkpoints, and must."""

    class Killed(Exception):
        pass

    @contextmanager
    def killed(module, saves: int):
        original, saved = module.save_state, []

        def save_state(path, *rest):
            original(path, *rest)
            saved.append(path)
            if len(saved) == saves:
                raise Killed

        with monkeypatch.context() as own, pytest.raises(Killed):
            own.setattr(module, "save_state", save_state)
            yield

    return killed

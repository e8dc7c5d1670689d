"""What tests of trainings share."""

from collections.abc import Callable
from contextlib import contextmanager

import pytest


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

"""A made-up study, written once; tests that change it work on a copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.fake_study import fake_checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "checkout"
    fake_checkout(folder)
    return folder


@pytest.fixture
def copied(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the study that is the current folder."""
    folder = tmp_path / "copy"
    shutil.copytree(checkout, folder)
    monkeypatch.chdir(folder)
    return folder


Files = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def content() -> Files:
    """The bytes of every file below a folder."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }

"""One run for all tests of reports; those that edit it take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report import made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every way to leave traces, of which each answer is timed three times."""
    return made.run(tmp_path_factory.mktemp("kinds"), *made.KINDS, n=3, of=3, repeats=3)


@pytest.fixture
def kinds(all_kinds: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(all_kinds, tmp_path / "run"))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))

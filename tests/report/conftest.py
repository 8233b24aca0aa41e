"""One run for all tests of reports; those that edit it take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report import made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.run(tmp_path_factory.mktemp("report"))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))

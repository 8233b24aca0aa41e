"""A study's directory belongs to one process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstitch.errors import BadRun
from rstitch.evals.study import kept
from tests.cli.terminal import rstitch


def test_a_study_is_begun_by_one_alone(tmp_path: Path) -> None:
    """Two at once each kept a probe and settled methods of their own, the later over the other."""
    out = tmp_path / "out"
    with kept.claimed(out):
        kept.check(out)
        with pytest.raises(BadRun, match="is being run by another process"), kept.claimed(out):
            pass
        line = rstitch("study", "builtin", "--out", str(out), "--yes").line
        assert line == f"{out} is being run by another process; wait for it"
    with kept.claimed(out):
        pass

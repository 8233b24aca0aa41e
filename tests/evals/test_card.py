"""A calibration's card as a file: whole, and never over another."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstitch.errors import BadRequest
from rstitch.evals.calibration import card


def test_a_file_that_has_come_to_be_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for and then replaced, it was lost where it came between the two."""
    path = tmp_path / "card.toml"
    path.write_text("theirs")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(BadRequest, match="card.toml has come to be meanwhile; name another file"):
        card.write(path, {"tau": 0.1})
    assert path.read_text() == "theirs" and list(tmp_path.iterdir()) == [path]

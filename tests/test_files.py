"""Whole files or none, whoever else writes there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rstitch import files


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("one", "two"):
        with files.replaced(path) as partial:
            partial.write_text(text)
            assert path.exists() == (text == "two") and partial.parent == tmp_path
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("how", [files.replaced, files.published])
def test_what_fails_leaves_nothing(tmp_path: Path, how: object) -> None:
    with pytest.raises(KeyboardInterrupt), how(tmp_path / "a.json") as partial:  # type: ignore[operator]
        partial.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    with files.replaced(tmp_path / "link") as partial:
        partial.write_text("one")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_text() == "one"


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_published_over_what_somebody_else_wrote(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks first and then renames loses the other's file, however short the moment between."""

    def none(*args: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", none)
    path = tmp_path / "card.toml"
    with pytest.raises(FileExistsError), files.published(path) as partial:
        partial.write_text("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs" and list(tmp_path.iterdir()) == [path]
    with files.published(tmp_path / "other") as partial:
        partial.write_text("ours")
    assert (tmp_path / "other").read_text() == "ours"

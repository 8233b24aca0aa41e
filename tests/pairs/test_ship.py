"""Shipping a pair: all or nothing, with hashes that say when a file has changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rstitch.pairs.recipe.ship import add, ship


def trained(folder: Path) -> Path:
    for side in ("slm", "llm"):
        (folder / side).mkdir(parents=True)
        (folder / side / "model.safetensors").write_bytes(side.encode())
        (folder / side / "config.json").write_text("{}")
    return folder


def test_a_shipped_pair_has_both_sides_and_their_hashes(tmp_path: Path) -> None:
    card = json.loads(ship(trained(tmp_path / "out"), 0.03, 2, tmp_path / "to").read_text())
    assert (card["tau"], card["version"]) == (0.03, 2)
    assert set(card["sha256"]) == {
        f"{side}/{name}" for side in ("slm", "llm") for name in ("model.safetensors", "config.json")
    }
    for name, digest in card["sha256"].items():
        assert hashlib.sha256((tmp_path / "to" / name).read_bytes()).hexdigest() == digest


def test_a_missing_side_changes_nothing(tmp_path: Path) -> None:
    out = trained(tmp_path / "out")
    ship(out, 0.03, 1, tmp_path / "to")
    (out / "llm" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="llm has no exported model"):
        ship(out, 0.5, 2, tmp_path / "to")
    assert json.loads((tmp_path / "to" / "pair.json").read_text())["version"] == 1
    assert (tmp_path / "to" / "llm" / "model.safetensors").is_file()


def test_one_more_slm_leaves_the_pair_as_it_is(tmp_path: Path) -> None:
    out, to = trained(tmp_path / "out"), tmp_path / "to"
    before = json.loads(ship(out, 0.03, 2, to).read_text())
    with pytest.raises(FileNotFoundError, match="sibling has no exported model"):
        add(out, "sibling", to)
    assert json.loads((to / "pair.json").read_text()) == before
    for weights in (b"first", b"second"):
        (out / "sibling").mkdir(exist_ok=True)
        (out / "sibling" / "model.safetensors").write_bytes(weights)
        card = json.loads(add(out, "sibling", to).read_text())
        digest = card["sha256"].pop("sibling/model.safetensors")
        assert digest == hashlib.sha256(weights).hexdigest()
        assert card == before

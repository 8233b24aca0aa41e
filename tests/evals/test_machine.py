"""What a run says of the models and the code that it belongs to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from rstitch.baselines import origin
from rstitch.evals import machine
from rstitch.pairs import Preset, SidePreset
from rstitch.types import Side
from tests.fake_hub import COMMIT
from tests.pair import pair, stitch


def test_a_model_of_the_hub_is_known_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the cache knows, whatever branch was asked for; its small files are hashed."""
    place = tmp_path / "models--lab--slm" / "snapshots" / COMMIT
    place.mkdir(parents=True)
    (tmp_path / "models--lab--slm" / "refs").mkdir()
    (tmp_path / "models--lab--slm" / "refs" / "main").write_text(COMMIT)
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (place / name).write_text(name)
    cached = partial(machine.try_to_load_from_cache, cache_dir=tmp_path)
    monkeypatch.setattr(machine, "try_to_load_from_cache", cached)
    for revision in (None, COMMIT):
        assert machine.model("lab/slm", revision) == {"source": "lab/slm", "revision": COMMIT}
        found = machine.weights("lab/slm", revision)
        assert set(found) == {"config.json", "tokenizer.json", "chat_template.jinja"}
    assert machine.model("lab/llm", "v2") == {"source": "lab/llm", "revision": "v2"}
    assert machine.weights("lab/llm") == {}


def test_a_model_in_a_directory_is_known_by_its_files() -> None:
    source = str(pair().llm)
    assert machine.model(source) == {"source": source, "revision": None}
    assert set(machine.weights(source)) >= {"model.safetensors", "tokenizer.json", "config.json"}


def test_the_revision_of_what_was_loaded() -> None:
    """A side on llama.cpp has the revision of its GGUF repository."""
    sources = {side: one.source for side, one in stitch().models.items()}
    slm = SidePreset(id=sources[Side.SLM], revision="a", gguf_revision="b")
    llm = SidePreset(id="lab/llm", gguf=sources[Side.LLM], revision="a", gguf_revision="b")
    assert origin.of(stitch()) == origin.Origin()
    try:
        origin.remember(stitch(), Preset("two", slm, llm), True)
        assert origin.of(stitch()) == origin.Origin(("a", "b"), True)
    finally:
        origin.remember(stitch(), Preset("", SidePreset(), SidePreset()), False)

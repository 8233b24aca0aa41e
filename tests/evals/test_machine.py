"""What a run says of the models and the code that it belongs to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from rstitch.config import EngineConfig
from rstitch.engine.loader import load_weights, read_files
from rstitch.evals import machine
from rstitch.llamacpp import loader as gguf
from rstitch.pairs import SidePreset, hashes, models
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
    for module in (machine, hashes):
        monkeypatch.setattr(module, "try_to_load_from_cache", cached)
    for revision in (None, COMMIT):
        assert machine.model("lab/slm", revision) == {"source": "lab/slm", "revision": COMMIT}
        found = hashes.weights("lab/slm", revision)
        assert set(found) == {"config.json", "tokenizer.json", "chat_template.jinja"}
    assert machine.model("lab/llm", "v2") == {"source": "lab/llm", "revision": "v2"}
    assert hashes.weights("lab/llm") == {}


def test_a_model_in_a_directory_is_known_by_its_files() -> None:
    source = str(pair().llm)
    assert machine.model(source) == {"source": source, "revision": None}
    assert set(hashes.weights(source)) >= {"model.safetensors", "tokenizer.json", "config.json"}


def test_the_revision_of_what_was_loaded() -> None:
    files = read_files(str(pair().slm), revision="a", trust_remote_code=True)
    loaded = load_weights(files, EngineConfig(max_rows=1))
    assert (loaded.revision, loaded.trust_remote_code) == ("a", True)
    assert all(one.revision is None for one in stitch().models.values())


def test_a_side_on_llama_cpp_has_the_revision_of_its_gguf_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(gguf, "read_files", lambda source, **options: asked.append(options))
    side = SidePreset(id="lab/llm", gguf="lab/gguf:a.gguf", revision="a", gguf_revision="b")
    models.read(side, EngineConfig(engine="llamacpp"))
    assert [options["revision"] for options in asked] == ["b"]

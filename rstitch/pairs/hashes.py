"""SHA-256 of a model's files: what a calibration is bound to and a run belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
BESIDE = ("tokenizer*.json", "chat_template*", "config.json", "generation_config.json")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights(source: str, revision: str | None = None) -> dict[str, str]:
    """sha256 of a model's weights, tokenizer, template and configuration; of what lies on the hub,
    where the revision tells of the weights, without them."""
    place, patterns = Path(source), [*WEIGHTS, *BESIDE]
    if place.is_file():
        return {place.name: digest(place)}
    if not place.is_dir():
        found = try_to_load_from_cache(source.partition(":")[0], "config.json", revision=revision)
        if not isinstance(found, str):
            return {}
        place, patterns = Path(found).parent, [*BESIDE]
    files = sorted({file for pattern in patterns for file in place.glob(pattern)})
    return {file.name: digest(file) for file in files}

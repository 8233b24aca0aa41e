"""What a configuration says about whether a model can run here, before its weights are read.

These are the models that transformers runs on our attention function without complaint and gets
silently wrong, where the short rows of `probe` could not tell.
"""

from __future__ import annotations

from typing import Any

from rstitch.errors import BadModel

KINDS = {"full_attention", "sliding_attention"}
ALIBI = {"bloom", "mpt"}
RECURRENT = {"rwkv", "xlstm"}
"""Kinds of model whose configuration lists no layers."""
OWN_ATTENTION = (
    "has an attention of its own; models that attend through transformers' interface are supported"
)
NO_LIMIT = 2048
"""Tokens per row where the configuration names no limit."""


def check(source: str, settings: Any) -> None:
    """Raise BadModel, naming the model and what it has, unless its text part may run."""
    found = _shape(settings) or _layers(settings) or _bias(settings) or _rope(settings)
    if found:
        raise BadModel(f"{source} {found}: choose another model")


def longest(settings: Any) -> int:
    """Tokens that a row may hold: the context, or less where rope would change beyond that."""
    limit = int(getattr(settings, "max_position_embeddings", 0) or NO_LIMIT)
    pinned = [_pinned(part, settings) for part in _ropes(settings) if _type(part) == "longrope"]
    return min([limit, *(n for n in pinned if n)])


def _shape(settings: Any) -> str | None:
    if getattr(settings, "is_encoder_decoder", False):
        return "is an encoder with a decoder; decoders alone are supported"
    return None


def _layers(settings: Any) -> str | None:
    kinds = set(getattr(settings, "layer_types", None) or ["full_attention"])
    if settings.model_type in RECURRENT:
        kinds = {"recurrent"}
    strange = sorted(kinds - KINDS)
    if not strange:
        return None
    return f"has {strange[0]} layers; full and sliding attention are supported"


def _bias(settings: Any) -> str | None:
    """ALiBi adds a bias to the scores by a way of its own."""
    parts = (settings, getattr(settings, "attn_config", None))
    flags = (getattr(part, name, False) for part in parts for name in ("alibi", "use_alibi"))
    named = getattr(settings, "position_embedding_type", None) == "alibi"
    if named or settings.model_type in ALIBI or any(flag is True for flag in flags):
        return "uses ALiBi position biases; rotary or learned positions are supported"
    return None


def _rope(settings: Any) -> str | None:
    for part in _ropes(settings):
        kind = _type(part)
        if "dynamic" in kind:
            return f"uses {kind} rope, which depends on the row; static rope is needed"
        if kind == "longrope" and not _pinned(part, settings):
            return (
                "uses longrope without original_max_position_embeddings, so it depends on the row; "
                "static rope is needed"
            )
    return None


def _ropes(settings: Any) -> list[dict[str, Any]]:
    """Rope settings, one for all layers or one per kind of layer (Gemma 3)."""
    rope = getattr(settings, "rope_parameters", None) or getattr(settings, "rope_scaling", None)
    if not isinstance(rope, dict):
        return []
    return [part for part in rope.values() if isinstance(part, dict)] or [rope]


def _type(rope: dict[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")


def _pinned(rope: dict[str, Any], settings: Any) -> int:
    """Length up to which longrope keeps to its short factors, whatever else is in the batch."""
    own = getattr(settings, "original_max_position_embeddings", None)
    return int(own or rope.get("original_max_position_embeddings") or 0)

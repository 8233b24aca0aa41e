"""The forward pass of a plain decoder, without the bookkeeping of transformers' own `forward`.

Recording outputs, merging defaults and slicing the layer list take a fifth of a small model's step.
Models that consist of embedding, layers, norm and head alone are called piece by piece instead, and
only where that gave exactly the same logits at load: a scaled embedding, capped logits or anything
else that a model's own `forward` adds shows there, and such a model keeps its own `forward`.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from rstitch.engine.batch import Batch, Span
from rstitch.engine.kv import KVSlabs

PROBE = (1, 7, 3, 5, 2)
"""Token ids that both ways are tried on."""


class Forward(Protocol):
    """Raw logits (1, kept, columns) of a flat batch of ids and positions, each int64 (1, tokens).

    `keep` selects the tokens whose logits are wanted: their indexes, or the last n; 0 is all.
    """

    def __call__(
        self, ids: Tensor, positions: Tensor, batch: Any, keep: int | Tensor
    ) -> Tensor: ...


class ModelForward:
    """Any causal LM, through its own `forward`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, ids: Tensor, positions: Tensor, batch: Any, keep: int | Tensor) -> Tensor:
        if isinstance(keep, int) and keep:  # told a number, Gemma 4 drops queries on the way
            keep = torch.arange(ids.shape[1] - keep, ids.shape[1], device=ids.device)
        logits: Tensor = self.model(
            input_ids=ids,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=keep,
            rst_batch=batch,
        ).logits
        return logits


class PlainForward:
    """Embedding, layers, norm, head. Raises AttributeError for a model built otherwise."""

    def __init__(self, model: Any) -> None:
        core = model.model
        self.embed, self.rotary, self.norm = core.embed_tokens, core.rotary_emb, core.norm
        self.layers, self.head = list(core.layers), model.lm_head

    def __call__(self, ids: Tensor, positions: Tensor, batch: Any, keep: int | Tensor) -> Tensor:
        hidden = self.embed(ids)
        rotations = self.rotary(hidden, position_ids=positions)
        for layer in self.layers:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_embeddings=rotations,
                position_ids=positions,
                past_key_values=None,
                use_cache=False,
                rst_batch=batch,
            )
        kept = hidden[:, -keep:] if isinstance(keep, int) else hidden[:, keep]
        logits: Tensor = self.head(self.norm(kept))
        return logits


@torch.inference_mode()
def choose(model: Any) -> Forward:
    """The plain pass where it is exactly the model's own on a few tokens, else the model's own."""
    own = ModelForward(model)
    try:
        plain = PlainForward(model)
        same = torch.equal(_logits(plain, model), _logits(own, model))
    except Exception:  # pieces that are missing, or called otherwise: no plain decoder
        return own
    return plain if same else own


def _logits(forward: Forward, model: Any) -> Tensor:
    """All logits of the probe, over KV memory of its own."""
    device, memory = next(model.parameters()).device, KVSlabs(1, len(PROBE))
    rows = model.get_input_embeddings().num_embeddings
    memory.reserve(len(PROBE))
    batch = Batch(memory, [Span(memory.open(), 0, len(PROBE))], device)
    ids = torch.tensor([PROBE], device=device) % rows
    return forward(ids, batch.positions[None], batch, 0)

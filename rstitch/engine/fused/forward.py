"""A decoder's forward pass with fused projections, for families whose layers are known here.

Knowing is not enough: the pass is used only where it gives the model's own logits at load, up to
the rounding of its precision. The separate projections become views of the fused ones, so that
weights are there once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstitch.engine.batch import Span
from rstitch.engine.dense import Extra
from rstitch.engine.forward import PROBE, Forward
from rstitch.engine.fused.ops import Heads, ops
from rstitch.engine.paged import choice
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.paged.memory import PagedKV

log = logging.getLogger(__name__)

FAMILIES = ("qwen2", "qwen3", "llama", "mistral")
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.003, torch.bfloat16: 0.02}
"""Largest deviation of a token's logits, root mean square, relative to their spread."""


@dataclass(frozen=True, slots=True)
class Product:
    """One or several linear layers on one input."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, *layers: Any) -> Product:
        """The layers' weights become views of it. Raises TypeError for what is no plain layer."""
        if any(type(layer) is not nn.Linear for layer in layers):
            raise TypeError("projections of another kind")
        if len(layers) == 1:
            return cls(layers[0].weight.data, _data(layers[0].bias))
        weight = torch.cat([layer.weight.data for layer in layers])
        biases = [layer.bias for layer in layers]
        bias = None if biases[0] is None else torch.cat([one.data for one in biases])
        sizes = [layer.weight.shape[0] for layer in layers]
        for layer, part in zip(layers, weight.split(sizes), strict=True):
            layer.weight.data = part
        return cls(weight, bias)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Layer:
    """One decoder layer's weights, in the order in which they are used."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        before, after = layer.input_layernorm, layer.post_attention_layernorm
        self.before, self.after, self.eps = before.weight, after.weight, before.variance_epsilon
        self.qkv = Product.of(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = Product.of(attention.o_proj)
        self.gate_up = Product.of(mlp.gate_proj, mlp.up_proj)
        self.down = Product.of(mlp.down_proj)
        dim = attention.head_dim
        normed = getattr(attention, "q_norm", None) is not None
        self.heads = Heads(
            attention.q_proj.weight.shape[0] // dim,
            attention.k_proj.weight.shape[0] // dim,
            dim,
            attention.q_norm.weight if normed else None,
            attention.k_norm.weight if normed else None,
            self.eps,
        )
        self.extra = Extra(attention.scaling, getattr(attention, "sliding_window", None))


class FusedForward:
    """Implements `rstitch.engine.forward.Forward` over pages."""

    def __init__(self, model: Any) -> None:
        core = model.model
        self.embed, self.rotary, self.head = core.embed_tokens, core.rotary_emb, model.lm_head
        self.layers = [Layer(layer) for layer in core.layers]
        self.norm, self.eps = core.norm.weight, core.norm.variance_epsilon
        self.device = core.norm.weight.device

    def __call__(self, ids: Tensor, positions: Tensor, batch: Any, keep: int | Tensor) -> Tensor:
        return self.with_hidden(ids, positions, batch, keep)[0]

    def with_hidden(
        self, ids: Tensor, positions: Tensor, batch: Any, keep: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden = self._hidden(ids, positions, batch)
        kept = hidden[-keep:] if isinstance(keep, int) else hidden[keep]
        return self.head(kept)[None], kept[None]

    def _hidden(self, ids: Tensor, positions: Tensor, batch: PagedBatch) -> Tensor:
        do, backend = ops(self.device), choice.backend(self.device)
        x = self.embed(ids)
        cos, sin = (one[0].contiguous() for one in self.rotary(x, position_ids=positions))
        residual, new = x[0], None
        for index, layer in enumerate(self.layers):
            heads = layer.heads
            residual, normed = do.add_norm(residual, new, layer.before, layer.eps)
            pools = batch.kv.pools(index, normed, heads.kv, heads.dim)
            query = do.rotate_store(layer.qkv(normed), cos, sin, heads, *pools, batch.cells)
            found = backend.attend(query, *pools, batch, layer.extra)
            residual, normed = do.add_norm(
                residual, layer.out(found.flatten(1)), layer.after, layer.eps
            )
            new = layer.down(do.gated(layer.gate_up(normed)))
        return do.add_norm(residual, new, self.norm, self.eps)[1]


@torch.inference_mode()
def fuse(model: Any, own: Forward) -> Forward:
    """The fused pass, where the model is of a known family and it gives what `own` gives; else
    `own`. Says in the log which."""
    kind = model.config.get_text_config().model_type
    try:
        if kind not in FAMILIES:
            raise TypeError("not among " + ", ".join(FAMILIES))
        fused = FusedForward(model)
        off = _off(_logits(fused, model), _logits(own, model))
        if not off <= TOLERANCE[model.dtype]:
            raise TypeError(f"logits are off by {off:.2g} of their spread")
    except (AttributeError, TypeError, KeyError) as error:
        log.info("%s is not fused: %s", kind, error)
        return own
    log.info("%s runs with fused projections", kind)
    return fused


def _logits(forward: Forward, model: Any) -> Tensor:
    """All logits of the probe, over pages of its own."""
    device, memory = next(model.parameters()).device, PagedKV(1, len(PROBE))
    slot = memory.open()
    memory.grow(1, [(slot, len(PROBE))])
    batch = PagedBatch.of(memory, [Span(slot, 0, len(PROBE))], device)
    ids = torch.tensor([PROBE], device=device) % model.get_input_embeddings().num_embeddings
    return forward(ids, batch.positions[None], batch, 0)[0]


def _off(got: Tensor, want: Tensor) -> float:
    deviation = (got.double() - want.double()).pow(2).mean(-1).sqrt()
    return float((deviation / want.double().std(-1)).nan_to_num(torch.inf).max())


def _data(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.data

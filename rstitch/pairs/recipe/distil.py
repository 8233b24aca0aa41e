"""What a student learns from a teacher: its whole distribution, not only the token that was drawn.

This is how the sibling comes from the LLM. Where a trace may go on in several ways the LLM prefers
one, and a draft is of use where it prefers the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, Qwen2ForCausalLM

from rstitch.pairs.recipe.data import Batch


def teacher(folder: Path) -> LlamaForCausalLM:
    """An exported model, in float32, not to be trained."""
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    frozen: LlamaForCausalLM = model.eval().requires_grad_(False)
    return frozen


def loss_of(
    student: Qwen2ForCausalLM,
    teacher: LlamaForCausalLM,
    batch: Batch,
    ids: int,
    *,
    bf16: bool = False,
) -> Tensor:
    """Mean cross entropy with the teacher's distribution over the `ids` that the tokenizer has."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            wanted = chosen_logits(teacher, batch)[:, :ids].float().softmax(-1)
        logits = chosen_logits(student, batch)[:, :ids]
        return functional.cross_entropy(logits, wanted)


def chosen_logits(model: Qwen2ForCausalLM | LlamaForCausalLM, batch: Batch) -> Tensor:
    """Logits (learnt positions, rows), computed only where something is learnt."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    chosen = hidden.flatten(0, 1).index_select(0, batch.where)
    return functional.linear(chosen, model.lm_head.weight)

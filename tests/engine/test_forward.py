"""The plain forward pass is used only where it is the model's own, bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen3Config

from rstitch.engine.attention import NAME
from rstitch.engine.batch import Batch, Span
from rstitch.engine.forward import ModelForward, PlainForward, choose
from rstitch.engine.kv import KVSlabs
from rstitch.engine.layout import transpose_linears

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}


def random_model(config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, attn_implementation=NAME).eval()


@pytest.mark.parametrize("config", [LlamaConfig(**SMALL), Qwen3Config(**SMALL)])
def test_a_plain_decoder_is_called_piece_by_piece(config: Any) -> None:
    assert isinstance(choose(random_model(config)), PlainForward)


def test_scaled_embeddings_and_capped_logits_keep_the_models_own_forward() -> None:
    assert isinstance(choose(random_model(Gemma2Config(**SMALL))), ModelForward)


def test_a_forward_that_adds_something_is_noticed() -> None:
    model = random_model(LlamaConfig(**SMALL))
    own = model.model.forward

    def shifted(*args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs)
        out.last_hidden_state = out.last_hidden_state + 1e-6
        return out

    model.model.forward = shifted
    assert isinstance(choose(model), ModelForward)


def test_transposed_weights_keep_values_and_spare_what_an_embedding_shares() -> None:
    model = random_model(LlamaConfig(**SMALL, tie_word_embeddings=True))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    transpose_linears(model)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]), name
        inner = name.endswith("_proj.weight")
        assert weight.t().is_contiguous() == inner or weight.dim() == 1, name
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


@torch.inference_mode()
@pytest.mark.parametrize("config", [LlamaConfig(**SMALL), Gemma2Config(**SMALL)])
def test_hidden_states_are_what_the_head_reads(config: Any) -> None:
    """Piece by piece and through a model's own forward, which caps logits after its head."""
    model = random_model(config)
    forward, memory = choose(model), KVSlabs(1, 8)
    memory.reserve(4)
    batch = Batch(memory, [Span(memory.open(), 0, 4)], torch.device("cpu"))
    ids = torch.tensor([[5, 9, 2, 7]])
    logits, hidden = forward.with_hidden(ids, batch.positions[None], batch, 2)
    plain = model.model(input_ids=ids, position_ids=batch.positions[None], use_cache=False,
                        rst_batch=batch).last_hidden_state  # fmt: skip
    assert torch.allclose(hidden, plain[:, -2:], atol=1e-5)
    assert torch.equal(logits, forward(ids, batch.positions[None], batch, 2))
    assert not model.get_output_embeddings()._forward_pre_hooks, "the listener stayed"

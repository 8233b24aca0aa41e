"""Fused projections: the same logits as the model's own pass, for the families that are known."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from rstitch.engine.attention import NAME
from rstitch.engine.forward import choose
from rstitch.engine.fused import ops, reference
from rstitch.engine.fused.forward import FAMILIES, FusedForward, Product, _logits, fuse
from rstitch.engine.fused.ops import Heads
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.rounding import TOLERANCE as NEAR
from rstitch.engine.rounding import off
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from tests.families import SMALL
from tests.models import prompt
from tests.same import TOLERANCE

WORDS = 99
INTERPRETED = bool(find_spec("triton")) and os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(not INTERPRETED, reason="no TRITON_INTERPRET=1")


def made(kind: str, dtype: torch.dtype = torch.float32, **differs: Any) -> Any:
    torch.manual_seed(5)
    config = AutoConfig.for_model(kind, **{**SMALL, "vocab_size": WORDS, **differs})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    return model.to(dtype).eval().requires_grad_(False)


def skip_bits(dtype: torch.dtype) -> None:
    if INTERPRETED and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter multiplies the bits of bfloat16")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", FAMILIES)
def test_known_families_are_fused_and_give_their_own_logits(kind: str, dtype: torch.dtype) -> None:
    skip_bits(dtype)
    model = made(kind, dtype)
    own = choose(model)
    before, _ = _logits(own, model)
    found = fuse(model, own)
    assert isinstance(found, FusedForward)
    assert off(_logits(found, model)[0], before) < (1e-5 if dtype == torch.float32 else 0.02)
    layer = model.model.layers[0].self_attn
    shared = {one.weight.untyped_storage().data_ptr() for one in (layer.q_proj, layer.v_proj)}
    assert len(shared) == 1, "weights are there twice"
    assert torch.equal(_logits(own, model)[0], before), "the model's own pass has changed"


def test_what_is_not_known_keeps_its_own_pass(caplog: pytest.LogCaptureFixture) -> None:
    gemma, odd = made("gemma2"), made("qwen2")
    odd.model.layers[1].mlp.down_proj = nn.Sequential(odd.model.layers[1].mlp.down_proj)
    with caplog.at_level(logging.INFO, "rstitch"):
        for model, why in ((gemma, "not among"), (odd, "projections of another kind")):
            own = choose(model)
            assert fuse(model, own) is own
            assert why in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_that_gives_other_logits_is_not_used(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """An activation that is none of ours."""
    skip_bits(dtype)
    model = made("llama", dtype, hidden_act="sigmoid", initializer_range=0.1)
    own = choose(model)
    with caplog.at_level(logging.INFO, "rstitch"):
        assert fuse(model, own) is own
    assert "of their spread" in caplog.text


def test_what_rounding_alone_does_in_a_deep_model_is_no_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 28 layers bfloat16 may be further off than a fixed bound; shaken embeddings tell why."""
    skip_bits(torch.bfloat16)
    monkeypatch.setitem(NEAR, torch.bfloat16, 0.0)
    model = made("qwen2", torch.bfloat16, num_hidden_layers=28)
    assert isinstance(fuse(model, choose(model)), FusedForward)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "mistral"])
def test_a_runner_with_fused_projections_is_the_runner(kind: str) -> None:
    """Prefill, ragged extend, hidden states, a sliding window."""
    differs = {"sliding_window": 9}
    if kind != "mistral":  # which has it in its configuration, and not in its layers
        differs |= {"use_sliding_window": True, "max_window_layers": 0}
    model = made(kind, **differs)
    rows, got = [list(prompt(n, n)) for n in (40, 7)], []
    for fused in (False, True):
        one = TorchRunner(model, WORDS, 4, 128, kv=PagedKV(4, 128, 8))
        if fused:
            one.fuse()
            assert isinstance(one.forward, FusedForward)
        opened = [one.open(), one.open()]
        out = [one.extend([Extend(r, ids) for r, ids in zip(opened, rows, strict=True)], "all")]
        out += one.extend_hidden([Extend(opened[0], [5, 6, 7]), Extend(opened[1], [8])], [2, 1])
        got.append(out)
    for a, b in zip(*got, strict=True):
        assert a.shape == b.shape and float((a - b).abs().max()) < TOLERANCE


def test_products_of_one_input() -> None:
    layers = [nn.Linear(6, n) for n in (4, 2, 2)]
    x = torch.randn(3, 6)
    want = torch.cat([layer(x) for layer in layers], dim=1)
    with torch.inference_mode():
        assert torch.allclose(Product.of(*layers)(x), want, atol=1e-6)
    with pytest.raises(TypeError, match="another kind"):
        Product.of(nn.Identity())


@needs_triton
@pytest.mark.parametrize("width", [32, 100, 1536])
@pytest.mark.parametrize("adds", [False, True])
def test_add_and_norm(width: int, adds: bool) -> None:
    from rstitch.engine.fused import kernels

    torch.manual_seed(0)
    residual, new, weight = torch.randn(3, width), torch.randn(3, width), torch.randn(width)
    args = residual, new if adds else None, weight, 1e-6
    for got, want in zip(kernels.add_norm(*args), reference.add_norm(*args), strict=True):
        assert torch.allclose(got, want, atol=1e-5)


@needs_triton
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("query", "kv", "dim"), [(4, 2, 16), (7, 1, 80), (5, 5, 128)])
def test_rotate_and_store(query: int, kv: int, dim: int, normed: bool) -> None:
    from rstitch.engine.fused import kernels

    torch.manual_seed(0)
    norms = (torch.randn(dim), torch.randn(dim)) if normed else (None, None)
    heads = Heads(query, kv, dim, *norms)
    qkv, cells = torch.randn(3, (query + 2 * kv) * dim), torch.tensor([5, 0, 30])
    angle = torch.randn(3, dim // 2).repeat(1, 2)
    found = []
    for module in (kernels, reference):
        pools = torch.zeros(4, 8, kv, dim), torch.zeros(4, 8, kv, dim)
        found.append(
            (module.rotate_store(qkv, angle.cos(), angle.sin(), heads, *pools, cells), *pools)
        )
    for got, want in zip(*found, strict=True):
        assert torch.allclose(got, want, atol=1e-5)


@needs_triton
@pytest.mark.parametrize("side", [0, 1])
def test_coins_are_the_same_bits(side: int) -> None:
    from rstitch.engine.fused import kernels

    generator = torch.Generator().manual_seed(0)
    seeds = torch.randint(-(2**63), 2**63 - 1, (70,), generator=generator)
    table = torch.stack([seeds, torch.arange(70) ** 3], dim=1)  # strided, as lines are
    got = kernels.coins(table[:, 0], table[:, 1], side)
    assert torch.equal(got, reference.coins(table[:, 0], table[:, 1], side))


@needs_triton
def test_gated() -> None:
    from rstitch.engine.fused import kernels

    x = torch.randn(3, 2 * 1100, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(kernels.gated(x), reference.gated(x), atol=1e-6)


@needs_triton
def test_a_whole_model_in_the_interpreter() -> None:
    """Every kernel at its place in a small model."""
    model = made("qwen3")
    assert ops.ops(torch.device("cpu")).__name__.endswith("kernels")
    assert isinstance(fuse(model, choose(model)), FusedForward)

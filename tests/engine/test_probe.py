"""The probe at load lets right models pass in every precision, and names what others do wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rstitch.engine.attention import NAME
from rstitch.engine.forward import ModelForward
from rstitch.engine.probe import probe
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadModel
from tests.families import FAMILIES, SMALL, config

WORDS = 99


def made(config: Any, dtype: torch.dtype = torch.float32) -> TorchRunner:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    return TorchRunner(model.to(dtype).eval(), WORDS, 4, 128)


def small(kind: str, **differs: Any) -> Any:
    return AutoConfig.for_model(kind, **{**SMALL, "vocab_size": WORDS, **differs})


def refused(runner: TorchRunner) -> str:
    """Why; the runner is as it was before."""
    memory = runner.kv
    with pytest.raises(BadModel) as caught:
        probe("it", runner)
    assert runner.kv is memory and memory.layers == {} and memory.length == {}
    assert runner.model.config._attn_implementation == NAME
    message = str(caught.value)
    kind = runner.model.config.model_type
    assert message.startswith(f"it is of an unsupported kind, {kind}: ")
    assert message.endswith(": choose another model") and "\n" not in message
    return message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_supported_families_pass(family: str, dtype: torch.dtype) -> None:
    probe("it", made(config(family, WORDS), dtype))


@pytest.mark.parametrize("seed", range(3))
def test_experts_that_half_precision_chooses_otherwise(seed: int) -> None:
    """A deep random gpt-oss in bfloat16 is off by half of its spread, as by any rounding at all."""
    torch.manual_seed(seed)
    runner = made(config("gpt-oss", WORDS, num_hidden_layers=16, layer_types=None), torch.bfloat16)
    probe("it", runner)


def test_a_model_that_takes_views_of_what_it_attended() -> None:
    """AFMoE: an output that is only transposed used to fail in passes of one row."""
    probe("it", made(small("afmoe", num_local_experts=4, num_experts_per_tok=2)))


def test_a_runner_in_use_is_left_alone() -> None:
    runner = made(config("gemma3", WORDS))
    row = runner.open()
    before = runner.extend([Extend(row, [5, 6, 7])])
    probe("it", runner)
    assert runner.cached(row) == 3 and runner.kv.length == {row: 3}
    again = runner.open()
    assert torch.equal(runner.extend([Extend(again, [5, 6, 7])]), before)


def test_nothing_is_compiled_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(forward: Any, **_: Any) -> Callable[..., Any]:
        return lambda **__: pytest.fail("the probe took a compiled step")

    monkeypatch.setattr(torch, "compile", compiled)
    model = made(config("llama", WORDS)).model
    probe("it", TorchRunner(model, WORDS, 4, 128, compile=True))


def test_a_number_of_logits_that_cuts_queries_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma 4, told to keep one: its last layers get that query alone. It used to fail so in the
    first prefill of a single row, and nowhere else."""

    def told_a_number(own: ModelForward, ids: Any, positions: Any, batch: Any, keep: Any) -> Any:
        return own.model(
            input_ids=ids, position_ids=positions, use_cache=False,
            logits_to_keep=keep, rst_batch=batch,
        ).logits  # fmt: skip

    runner = made(config("gemma4", WORDS))
    probe("it", runner)
    monkeypatch.setattr(ModelForward, "__call__", told_a_number)
    assert "its forward pass fails here" in refused(runner)


@pytest.mark.parametrize(
    ("kind", "differs", "why"),
    [
        ("bloom", {}, "layer 0 of 2 does not attend through transformers' interface"),
        ("xglm", {"d_model": 32, "attention_heads": 4}, "layer 0 of"),
        ("diffllama", {}, "layer 0 attends 2 times in a pass"),
        ("stablelm", {}, "arguments do not reach its attention layers"),
        ("bert", {"num_key_value_heads": 4}, "its logits differ from a plain forward pass by"),
        (
            "qwen3_next",
            {"layer_types": ["full_attention", "linear_attention"]},
            "layer 1 of 2 does",
        ),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "layer 0 of 2 does not attend"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_wrong_is_named(
    kind: str, differs: dict[str, Any], why: str, dtype: torch.dtype
) -> None:
    assert why in refused(made(small(kind, **differs), dtype))


# -- faults of a model that is right otherwise ----------------------------------------------------


def share_a_layer_index(layers: Any) -> None:
    layers[1].self_attn.layer_idx = 0


def count_layers_from_one(layers: Any) -> None:
    for i, layer in enumerate(layers):
        layer.self_attn.layer_idx = i + 1


def forget_the_window(layers: Any) -> None:
    layers[0].self_attn.sliding_window = None


def see_the_future(layers: Any) -> None:
    """Only the plain pass does: ours is always causal."""
    own = layers[1].forward
    layers[1].forward = lambda hidden, *, attention_mask=None, **rest: own(
        hidden, attention_mask=None, **rest
    )


def rotate_a_pass_alike(layers: Any) -> None:
    """By its first token's position: right in a prefill, wrong in an extension."""
    own = layers[0].forward

    def forward(hidden: Any, *, position_embeddings: Any, **rest: Any) -> Any:
        cos, sin = (x[:, :1].expand_as(x) for x in position_embeddings)
        return own(hidden, position_embeddings=(cos, sin), **rest)

    layers[0].forward = forward


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (share_a_layer_index, "layer 0 attends 2 times in a pass"),
        (count_layers_from_one, "layer 0 of 2 does not attend through transformers' interface"),
        (forget_the_window, "layer 0 is of sliding_attention, yet its window is None"),
        (see_the_future, "its logits differ from a plain forward pass by"),
        (rotate_a_pass_alike, "its logits differ from a plain forward pass by"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_faults(damage: Callable[[Any], None], why: str, dtype: torch.dtype) -> None:
    runner = made(config("qwen2, sliding", WORDS), dtype)
    damage(runner.model.model.layers)
    assert why in refused(runner)


def test_a_forward_that_fails_is_no_traceback() -> None:
    runner = made(config("llama", WORDS))

    def forward(*_: Any, **__: Any) -> None:
        raise TypeError("unexpected argument\nand more")

    runner.model.model.layers[0].forward = forward
    assert "its forward pass fails here (TypeError: unexpected argument)" in refused(runner)


def test_running_out_of_memory_is_no_matter_of_support(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = made(config("llama", WORDS))

    def extend(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("too little")

    monkeypatch.setattr(runner, "extend", extend)
    with pytest.raises(torch.OutOfMemoryError):
        probe("it", runner)
    assert runner.model.config._attn_implementation == NAME

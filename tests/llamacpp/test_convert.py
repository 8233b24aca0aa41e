"""From a model directory to a GGUF file: the same logits, or a refusal by name, never a half."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rstitch.engine.runner import Extend
from rstitch.errors import BadModel, BadRequest
from tests import families
from tests.histories import differ
from tests.llamacpp.random_pair import EXACT
from tests.models import prompt
from tests.same import TOLERANCE

from rstitch.llamacpp import convert, header, loader  # isort: skip  # after random_pair
from rstitch.llamacpp.runner import LlamaRunner  # isort: skip

PLAIN = ("llama", "qwen2", "qwen3")
OFF = {"f32": 1e-5, "f16": 0.02, "q8_0": 0.3}
"""Difference of logits, root mean square, in spreads of them. These models are sharp: a rounding of
a hundredth of a weight moves logits by a tenth."""


def off(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).pow(2).mean().sqrt() / want.std())


def converted(directory: Path, target: Path, kind: str = "f32") -> LlamaRunner:
    convert.convert(str(directory), target, kind)
    files = loader.read_files(str(target))
    assert header.read(target).values["general.file_type"] == {"f32": 0, "f16": 1, "q8_0": 7}[kind]
    return LlamaRunner(
        loader.open_model("m", target), files.vocabulary.size, 2, families.CONTEXT, EXACT
    )


@pytest.mark.parametrize("family", PLAIN)
@pytest.mark.parametrize("kind", OFF)
def test_logits_are_those_of_the_directory(family: str, kind: str, tmp_path: Path) -> None:
    """Prefill and a step, with norms, biases and rope in effect."""
    one = converted(families.directory(family), tmp_path / "m.gguf", kind)
    ids, row = list(prompt(40, 5)), one.open()
    want = families.plain_logits(family, ids)
    assert off(one.extend([Extend(row, ids[:39])], "all"), want[:39]) < OFF[kind]
    assert off(one.extend([Extend(row, ids[39:])]), want[39:]) < OFF[kind]


def test_biases_of_attention_and_heads_of_their_own(tmp_path: Path) -> None:
    """As the built-in models have them: every projection with a bias, which llama.cpp permutes."""
    root = families.save("llama", tmp_path / "hf", attention_bias=True, num_key_value_heads=1)
    one = converted(root, tmp_path / "m.gguf")
    ids = list(prompt(30, 6))
    got = one.extend([Extend(one.open(), ids)], "all")
    plain = AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32).eval()
    with torch.inference_mode():
        want = plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    assert differ(got, want) < TOLERANCE


def test_mistral_without_a_window(tmp_path: Path) -> None:
    root = families.save("mistral", tmp_path / "hf", sliding_window=None)
    assert converted(root, tmp_path / "m.gguf").max_length == families.CONTEXT


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("gemma2", "is a Gemma2ForCausalLM; converted here are LlamaForCausalLM"),
        ("llama, linear rope", "has rope of type 'linear'"),
        ("qwen2, sliding", "has layers with a sliding window"),
        ("mistral", "has layers with a sliding window"),
    ],
)
def test_what_is_not_converted_is_refused_by_name(family: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadModel) as caught:
        convert.convert(str(families.directory(family)), tmp_path / "m.gguf")
    message = str(caught.value)
    assert said in message and message.endswith("llama.cpp's convert_hf_to_gguf.py")
    assert not list(tmp_path.iterdir())


def test_bad_requests(tmp_path: Path) -> None:
    source = str(families.directory("qwen2"))
    with pytest.raises(BadRequest, match="type is 'q9'; it must be one of f32, f16, q8_0, q4_k_m"):
        convert.convert(source, tmp_path / "m.gguf", "q9")
    with pytest.raises(BadModel, match="is no directory; download the model first"):
        convert.convert("lab/model", tmp_path / "m.gguf")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match="m.gguf cannot be written: "):
        convert.convert(source, tmp_path / "file" / "m.gguf")


def test_a_conversion_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(convert.NAMES, "mlp.up_proj", "ffn_up")
    monkeypatch.delitem(convert.NAMES, "mlp.down_proj")
    with pytest.raises(BadModel, match=r"has a weight model.layers.0.mlp.down_proj.weight that"):
        convert.convert(str(families.directory("qwen2")), tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_llamacpps_own_quantisation(tmp_path: Path) -> None:
    """Rows of 256 numbers and more get 4 and 6 bits; the text is still read by tokenizer.json."""
    root = families.save(
        "qwen2", tmp_path / "hf", hidden_size=256, intermediate_size=512, head_dim=64
    )
    target = tmp_path / "m.gguf"
    convert.convert(str(root), target, "q4_k_m")
    found = header.read(target)
    kinds = {tensor.type for tensor in found.tensors}
    assert {"Q4_K", "Q6_K"} <= kinds, kinds
    assert loader.read_files(str(target)).vocabulary.size == 321
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hf", "m.gguf"]
    one = LlamaRunner(loader.open_model("m", target), 321, 1, families.CONTEXT, EXACT)
    logits = one.extend([Extend(one.open(), list(prompt(5)))])
    assert all(math.isfinite(x) for x in logits[0].tolist())

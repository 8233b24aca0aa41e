"""Checkpoints quantised beforehand: those that load here run like the weights they stand for; the
others say in one line what is missing. Libraries of a method that are not installed skip its test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from rstitch.config import EngineConfig
from rstitch.engine import quantised
from rstitch.engine.loader import load_model
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadModel
from tests.families import directory, save

SIZES = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
BLOCK = 16
IDS = list(range(10, 34))
Change = Callable[[str, Tensor], dict[str, Tensor]]


def rewrite(root: Path, change: Change, **quantization: Any) -> None:
    """Store other tensors in the place of each, and say so in the configuration."""
    path = root / "model.safetensors"
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(path).items():
        tensors |= change(name, tensor)
    save_file(tensors, path, metadata={"format": "pt"})
    configure(root, quantization)


def configure(root: Path, quantization: dict[str, Any]) -> None:
    settings = json.loads((root / "config.json").read_text())
    settings["quantization_config"] = quantization
    (root / "config.json").write_text(json.dumps(settings))


def logits(one: TorchRunner, ids: list[int]) -> Tensor:
    """Of a prefill and a few catch-ups of one row, with a second row beside it."""
    row, other = one.open(), one.open()
    parts = [one.extend([Extend(row, ids[:9]), Extend(other, ids[:4])], logits="all")[:9]]
    parts += [
        one.extend([Extend(row, ids[a : a + 5])], logits="all") for a in range(9, len(ids), 5)
    ]
    one.free(row)
    one.free(other)
    return torch.cat(parts)


@torch.inference_mode()
def plain(root: Path, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same by transformers alone, of the same checkpoint."""
    model = AutoModelForCausalLM.from_pretrained(root, attn_implementation="eager", dtype=dtype)
    model = model if getattr(model, "is_quantized", False) else model.to(dtype)
    found: Tensor = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    return found


def spread(got: Tensor, want: Tensor) -> float:
    """Deviation relative to how far logits are apart."""
    return float((got.float() - want.float()).pow(2).mean().sqrt() / want.float().std())


LOOSE = {"float32": 1e-5, "bfloat16": 0.3}
"""Of `spread`; experts and near ties of bfloat16 fall either way."""


# -- that run here --------------------------------------------------------------------------------


def four_bits(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """MXFP4: random pairs of 4-bit numbers with a shared exponent per 32."""
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return {name: tensor}
    experts, inputs, outputs = tensor.shape
    blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
    scales = torch.full(blocks.shape[:3], 124, dtype=torch.uint8)
    return {f"{name}_blocks": blocks, f"{name}_scales": scales}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mxfp4_expanded_at_load(tmp_path: Path, dtype: Any) -> None:
    """gpt-oss as it is published. Experts come out in bfloat16, whatever the rest is loaded as."""
    save("gpt-oss", tmp_path, **SIZES)
    rewrite(tmp_path, four_bits, quant_method="mxfp4", dequantize=True)
    one = load_model(str(tmp_path), EngineConfig(dtype=dtype)).runner
    assert {w.dtype for w in one.model.parameters()} == {getattr(torch, dtype)}
    assert spread(logits(one, IDS), plain(tmp_path, getattr(torch, dtype))) < LOOSE[dtype]


def eight_bits(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """FP8 as DeepSeek and Qwen publish it: a scale per block."""
    if not name.endswith("_proj.weight"):
        return {name: tensor}
    rows, columns = (n // BLOCK for n in tensor.shape)
    blocks = tensor.view(rows, BLOCK, columns, BLOCK)
    scales = blocks.abs().amax((1, 3)) / 448
    small = (blocks / scales[:, None, :, None]).view(tensor.shape).to(torch.float8_e4m3fn)
    return {name: small, f"{name}_scale_inv": scales}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fp8_expanded_where_no_gpu_has_it(tmp_path: Path, dtype: Any) -> None:
    pytest.importorskip("accelerate")
    save("qwen2", tmp_path, **SIZES)
    whole = plain(tmp_path)
    block = [BLOCK, BLOCK]
    rewrite(tmp_path, eight_bits, quant_method="fp8", weight_block_size=block)
    one = load_model(str(tmp_path), EngineConfig(dtype=dtype)).runner
    assert {w.dtype for w in one.model.parameters()} == {getattr(torch, dtype)}
    got = logits(one, IDS)
    assert spread(got, plain(tmp_path, getattr(torch, dtype))) < LOOSE[dtype]
    assert 0.001 < spread(got, whole) < 0.5, "not the weights that were quantised"


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("bits", [4, 8])
def test_bitsandbytes(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    save("qwen2", tmp_path / "whole", **SIZES)
    how = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "whole", quantization_config=how, dtype=torch.float32
    )
    small = save("qwen2", tmp_path / "small", **SIZES)
    model.save_pretrained(small)
    one = load_model(str(small), EngineConfig()).runner
    assert {w.dtype for w in one.model.parameters()} > {torch.float32}, "nothing is quantised"
    assert spread(logits(one, IDS), plain(small)) < (1e-5 if bits == 4 else 0.05)


def integers(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """compressed-tensors, 8-bit integers with a scale per output."""
    if not name.endswith("_proj.weight"):
        return {name: tensor}
    scale = tensor.abs().amax(1, keepdim=True) / 127
    return {name: (tensor / scale).round().to(torch.int8), f"{name}_scale": scale}


def test_compressed_tensors(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("compressed_tensors")
    save("qwen2", tmp_path, **SIZES)
    whole = plain(tmp_path)
    weights = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
    group = {"targets": ["Linear"], "weights": weights, "format": "int-quantized"}
    rewrite(
        tmp_path,
        integers,
        quant_method="compressed-tensors",
        format="int-quantized",
        quantization_status="compressed",
        config_groups={"group_0": group},
        ignore=["lm_head"],
    )
    got = logits(load_model(str(tmp_path), EngineConfig()).runner, IDS)
    assert spread(got, plain(tmp_path)) < LOOSE["float32"]
    assert 0.001 < spread(got, whole) < 0.5, "not the weights that were quantised"


# -- that do not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "accelerate bitsandbytes"),
        ({"load_in_8bit": True}, "accelerate bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "accelerate optimum gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "accelerate gptqmodel"),
        ({"quant_method": "fp8"}, "accelerate"),
        ({"quant_method": "compressed-tensors"}, "accelerate compressed-tensors"),
    ],
)
def test_libraries_that_are_missing(
    settings: dict[str, Any], packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    assert refused(tmp_path, settings).endswith(f": pip install {packages}")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"quant_method": "hqq"}, "is quantised with hqq, which cannot run here: "),
        ({"quant_method": "magic"}, "with magic, which transformers does not know"),
        ({"bits": 3}, "does not name its quant_method"),
    ],
)
def test_methods_that_cannot_run(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert why in refused(tmp_path, settings)


def refused(root: Path, quantization: dict[str, Any]) -> str:
    """Before the weights are read: they are not even there."""
    save("qwen2", root)
    (root / "model.safetensors").write_bytes(b"")
    configure(root, quantization)
    with pytest.raises(BadModel) as caught:
        load_model(str(root), EngineConfig())
    message = str(caught.value)
    assert message.startswith(f"{root} ") and "\n" not in message
    return message


def test_a_model_that_is_not_quantised_is_none_of_this() -> None:
    one = load_model(str(directory("qwen2")), EngineConfig()).runner
    assert quantised.placement(one.model.config, torch.device("cpu")) == {}

"""Saving a training run so that it can go on, and its result so that others can load it.

Everything is safetensors and JSON: nothing here is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2ForCausalLM

from rstitch.files import replaced
from rstitch.pairs.recipe.models import as_llama
from rstitch.pairs.recipe.optim import Optimizer


@dataclass
class Progress:
    """Where a run stands, and what it was told."""

    seed: int
    budget_tokens: int | None
    budget_seconds: float | None
    peak: float = 1.0
    """Scale of the learning rate at its highest."""
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    window: int = 0
    batch: int = 0

    @property
    def fraction(self) -> float:
        """How much of the budget is used, 0 to 1."""
        if self.budget_tokens is not None:
            return min(1.0, self.tokens / self.budget_tokens)
        return min(1.0, self.seconds / (self.budget_seconds or 1.0))


def save(path: Path, model: Qwen2ForCausalLM, optimizer: Optimizer, progress: Progress) -> None:
    """Writes weights, optimizer state and progress to one file, in one move."""
    tensors: dict[str, Tensor] = {f"weight.{n}": p.data for n, p in model.named_parameters()}
    tensors |= optimizer.state
    with replaced(path) as partial:
        save_file(tensors, partial, metadata={"progress": json.dumps(asdict(progress))})


def load(path: Path, model: Qwen2ForCausalLM, optimizer: Optimizer) -> Progress:
    """Fills the model and the optimizer, and returns the progress."""
    with safe_open(path, framework="pt") as file, torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(file.get_tensor(f"weight.{name}"))
        for name, tensor in optimizer.state.items():
            tensor.copy_(file.get_tensor(name))
        fields: dict[str, Any] = json.loads(file.metadata()["progress"])
    return Progress(**fields)


def start(folder: Path, model: Qwen2ForCausalLM) -> None:
    """Fills the model with the weights of an exported one, which `export` rounded to bfloat16.

    The exported one may have fewer layers and fewer embedding rows. Layers that it lacks change
    nothing at first, so that what it computes stays what it was; rows that it lacks stay as they
    are. Raises KeyError for any other weight that the file lacks, RuntimeError for another width.
    """
    weights = load_file(folder / "model.safetensors")
    layers = sum(name.endswith("o_proj.weight") for name in weights)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers." in name and int(name.split(".")[2]) >= layers:
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.zero_()
            elif "embed" in name:
                weight[: len(weights[name])].copy_(weights[name])
            else:
                weight.copy_(weights[name])


def export(folder: Path, model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """The finished model in bfloat16, in Hugging Face's ordinary format."""
    twin = as_llama(model)
    twin.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    twin.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)

"""Whether a model really runs right here: asked once at load, with three passes over a few tokens.

transformers accepts our attention function for models that ignore it, or that keep a state outside
it, and then answers nonsense. So two ragged rows are prefilled and extended by the runner, over
memory of their own, and compared with the plain forward pass of the same weights. What such short
rows cannot show (long chunks, rope that changes with the length) `support` refuses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.utils import logging as hf_logging

from rstitch.engine.attention import NAME, attention
from rstitch.engine.kv import KVSlabs
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadModel

COUNTED = f"{NAME}-probe"
PREFILL, LENGTHS = (7, 4), (10, 5)
"""Per row: tokens fed first, and in the end."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.05}
"""Largest deviation of a token's logits, relative to their spread. Right models are off by 2e-6,
0.014 and 0.12 at most, wrong ones by 0.03 to 1.5 (the families of transformers, random)."""
CARRIED = 4
"""... or this many times what rounding the embeddings once more does: where experts are chosen,
half precision may choose others."""

Calls = dict[int, list[int | None]]
"""Per layer, the sliding window of each of its calls."""


class CountingSlabs(KVSlabs):
    """KV memory that knows how each layer has attended."""

    def __init__(self, max_slots: int, max_length: int) -> None:
        super().__init__(max_slots, max_length)
        self.calls: Calls = defaultdict(list)


def counted(module: torch.nn.Module, *args: Any, rst_batch: Any = None, **extra: Any) -> Any:
    """Our attention function, its calls written down."""
    if rst_batch is None:
        raise RuntimeError("arguments do not reach its attention layers")
    rst_batch.kv.calls[module.layer_idx].append(extra.get("sliding_window"))
    extra["rst_batch"] = rst_batch
    return attention(module, *args, **extra)


AttentionInterface.register(COUNTED, counted)


def probe(source: str, runner: TorchRunner) -> None:
    """Raise BadModel, naming the kind of model, unless the runner's logits are the plain ones.

    Its memory stays as it is: the probe brings its own.
    """
    model, memory, verbosity = runner.model, runner.kv, hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        fault = _fault(runner)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the model's own code runs here, on arguments it may not know
        lines = str(error).splitlines() or [""]
        fault = f"its forward pass fails here ({type(error).__name__}: {lines[0]})"
    finally:
        runner.kv = memory
        model.set_attn_implementation(NAME)
        hf_logging.set_verbosity(verbosity)
    if fault:
        kind = model.config.get_text_config().model_type
        raise BadModel(f"{source} is of an unsupported kind, {kind}: {fault}: choose another model")


@torch.inference_mode()
def _fault(runner: TorchRunner) -> str | None:
    model, words = runner.model, runner.vocab_size
    rows = [[(32 + 7 * i + 3 * row) % words for i in range(n)] for row, n in enumerate(LENGTHS)]
    model.set_attn_implementation(COUNTED)
    ours, calls = _ours(runner, rows)
    if fault := _miscalled(calls, model.config.get_text_config()):
        return fault
    model.set_attn_implementation("eager")
    plain = _plain(model, rows)
    off = _off(ours, plain)
    precision = torch.bfloat16 if getattr(model, "is_quantized", False) else model.dtype
    if off <= TOLERANCE[precision]:
        return None
    if off <= CARRIED * _off(_shaken(model, precision, lambda: _plain(model, rows)), plain):
        return None
    return f"its logits differ from a plain forward pass by {off:.0%} of their spread"


def _ours(runner: TorchRunner, rows: list[list[int]]) -> tuple[list[Tensor], Calls]:
    """Logits of every token of each row, in two passes, and how its layers attended."""
    runner.kv = slabs = CountingSlabs(len(rows), max(LENGTHS))
    opened = [runner.open() for _ in rows]
    first = [Extend(r, ids[:n]) for r, ids, n in zip(opened, rows, PREFILL, strict=True)]
    then = [Extend(r, ids[n:]) for r, ids, n in zip(opened, rows, PREFILL, strict=True)]
    passes = [
        runner.extend(fed, logits="all").split([len(item.tokens) for item in fed])
        for fed in (first, then)
    ]
    return [torch.cat(parts) for parts in zip(*passes, strict=True)], slabs.calls


def _plain(model: Any, rows: list[list[int]]) -> list[Tensor]:
    """The same by transformers alone, from one rectangle: causal rows do not see their padding."""
    padded = [ids + ids[-1:] * (max(LENGTHS) - len(ids)) for ids in rows]
    logits = model(input_ids=torch.tensor(padded, device=model.device), use_cache=False).logits
    return [row[: len(ids)] for row, ids in zip(logits, rows, strict=True)]


def _shaken(model: Any, precision: torch.dtype, run: Callable[[], list[Tensor]]) -> list[Tensor]:
    """What `run` returns while every embedding is off by one rounding error, up or down."""

    def shake(_: Any, __: Any, out: Tensor) -> Tensor:
        signs = torch.arange(out.shape[-1], device=out.device) % 2 * 2 - 1
        return out * (1 + torch.finfo(precision).eps * signs).to(out.dtype)

    hook = model.get_input_embeddings().register_forward_hook(shake)
    try:
        return run()
    finally:
        hook.remove()


def _miscalled(calls: Calls, settings: Any) -> str | None:
    """What is wrong with two passes, in each of which each layer should have attended once."""
    layers = settings.num_hidden_layers
    kinds = getattr(settings, "layer_types", None) or [None] * layers
    for layer, kind in enumerate(kinds):
        windows = calls.get(layer, [])
        if not windows:
            return f"layer {layer} of {layers} does not attend through transformers' interface"
        if len(windows) != 2:
            return f"layer {layer} attends {len(windows) / 2:g} times in a pass"
        if kind and (windows[0] is None) == (kind == "sliding_attention"):
            return f"layer {layer} is of {kind}, yet its window is {windows[0]}"
    strange = sorted(set(calls) - set(range(layers)))
    return f"it attends in layer {strange[0]}, which is none of its {layers}" if strange else None


def _off(got: list[Tensor], want: list[Tensor]) -> float:
    """Largest deviation of a token's logits, root mean square, relative to their spread."""
    worst = 0.0
    for a, b in zip(got, want, strict=True):
        deviation = (a.double() - b.double()).pow(2).mean(-1).sqrt()
        worst = max(worst, float((deviation / b.double().std(-1)).nan_to_num(torch.inf).max()))
    return worst

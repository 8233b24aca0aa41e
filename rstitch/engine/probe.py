"""Whether a model really runs right here: asked once at load, with four passes over a few tokens.

transformers accepts our attention function for models that ignore it, or that keep a state outside
it, and then answers nonsense. So two ragged rows are prefilled and extended by the runner, over
memory of their own, and compared with the plain forward pass of the same weights. What such short
rows cannot show (long chunks, rope that changes with the length) `support` refuses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.utils import logging as hf_logging

from rstitch.engine.attention import NAME, attention
from rstitch.engine.kv import KVSlabs
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadModel

COUNTED = f"{NAME}-probe"
PASSES: tuple[tuple[tuple[int, int], Literal["all", "last"]], ...] = (
    ((5, 4), "all"),
    ((2, 1), "last"),
    ((3, 0), "last"),  # would be padded past the row's end, so that nothing is compiled for it
)
"""Tokens fed to each of two rows, and whose logits are asked for: models may skip the others."""
LENGTHS = (10, 5)
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.003, torch.bfloat16: 0.02}
"""Largest deviation of a token's logits, relative to their spread ..."""
CARRIED = 4
"""... or this many times what one more rounding of the embeddings does: where experts are chosen,
half precision may choose others. Right models reach 1 to 3, wrong ones hundreds (docs/log.md)."""

Calls = dict[int, list[int | None]]
"""Per layer, the sliding window of each of its calls."""


class CountingSlabs(KVSlabs):
    """KV memory that knows how each layer has attended."""

    def __init__(self, max_slots: int, max_length: int) -> None:
        super().__init__(max_slots, max_length)
        self.calls: Calls = defaultdict(list)


class CountingPages(PagedKV):
    """The same in pages."""

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


def _spans() -> Iterator[list[tuple[int, int, int]]]:
    """For each pass the rows that take part, with their first fed token and the end."""
    done = [0] * len(LENGTHS)
    for counts, _ in PASSES:
        yield [(row, done[row], done[row] + n) for row, n in enumerate(counts) if n]
        done = [a + n for a, n in zip(done, counts, strict=True)]


def _ours(runner: TorchRunner, rows: list[list[int]]) -> tuple[Tensor, Calls]:
    """Logits of the passes, (tokens, columns), and how the layers attended."""
    paged, sizes = isinstance(runner.kv, PagedKV), (len(rows), max(LENGTHS))
    runner.kv = memory = CountingPages(*sizes) if paged else CountingSlabs(*sizes)
    opened, got = [runner.open() for _ in rows], []
    for spans, (_, logits) in zip(_spans(), PASSES, strict=True):
        fed = [Extend(opened[row], rows[row][start:end]) for row, start, end in spans]
        got.append(runner.extend(fed, logits=logits))
    return torch.cat(got), memory.calls


def _plain(model: Any, rows: list[list[int]]) -> Tensor:
    """The same by transformers alone, from one rectangle: causal rows do not see their padding."""
    padded = [ids + ids[-1:] * (max(LENGTHS) - len(ids)) for ids in rows]
    logits = model(input_ids=torch.tensor(padded, device=model.device), use_cache=False).logits
    picked = [
        logits[row, start if wanted == "all" else end - 1 : end]
        for spans, (_, wanted) in zip(_spans(), PASSES, strict=True)
        for row, start, end in spans
    ]
    return torch.cat(picked)


def _shaken(model: Any, precision: torch.dtype, run: Callable[[], Tensor]) -> Tensor:
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
    """What is wrong with passes in each of which each layer should have attended once."""
    layers = settings.num_hidden_layers
    kinds = getattr(settings, "layer_types", None) or [None] * layers
    for layer, kind in enumerate(kinds):
        windows = calls.get(layer, [])
        if not windows:
            return f"layer {layer} of {layers} does not attend through transformers' interface"
        if len(windows) != len(PASSES):
            return f"layer {layer} attends {len(windows) / len(PASSES):g} times in a pass"
        if kind and (windows[0] is None) == (kind == "sliding_attention"):
            return f"layer {layer} is of {kind}, yet its window is {windows[0]}"
    strange = sorted(set(calls) - set(range(layers)))
    return f"it attends in layer {strange[0]}, which is none of its {layers}" if strange else None


def _off(got: Tensor, want: Tensor) -> float:
    """Largest deviation of a token's logits, root mean square, relative to their spread."""
    deviation = (got.double() - want.double()).pow(2).mean(-1).sqrt()
    return float((deviation / want.double().std(-1)).nan_to_num(torch.inf).max())

"""Whether two ways to compute a model's logits differ by rounding alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.003, torch.bfloat16: 0.02}
"""Largest deviation of a token's logits, relative to their spread ..."""
CARRIED = 4
"""... or this many times what one more rounding of the embeddings does: deep models carry it far,
and where experts are chosen, half precision may choose others. Right models reach 1 to 3, wrong
ones hundreds (docs/log.md)."""


def off(got: Tensor, want: Tensor) -> float:
    """Largest deviation of a token's logits, root mean square, relative to their spread."""
    deviation = (got.double() - want.double()).pow(2).mean(-1).sqrt()
    return float((deviation / want.double().std(-1)).nan_to_num(torch.inf).max())


def too_far(
    got: Tensor, want: Tensor, model: Any, precision: torch.dtype, again: Callable[[], Tensor]
) -> float | None:
    """How far `got` is off if rounding does not explain it; None if it does. `again` computes
    `want` anew, from the model's own embedding."""
    found = off(got, want)
    if found <= TOLERANCE[precision]:
        return None
    carried = off(_shaken(model, precision, again), want)
    return None if math.isfinite(found) and found <= CARRIED * carried else found


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

"""How weights lie in memory on the CPU.

A product of a few rows with a weight matrix is bound by reading the matrix, and MKL reads one that
is stored input-major up to a third faster for the 2 to 16 rows of catch-ups and small batches; for
one row and for long prefills it makes no difference (docs/log.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


@torch.no_grad()
def transpose_linears(model: Any) -> None:
    """Store every float32 CPU linear layer's weight input-major; shapes and values stay.

    Weights that an embedding shares stay as they are: it reads them by rows.
    """
    embeddings = {m.weight.data_ptr() for m in model.modules() if isinstance(m, nn.Embedding)}
    for module in model.modules():
        if type(module) is not nn.Linear or module.weight.data_ptr() in embeddings:
            continue
        weight = module.weight
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            weight.data = weight.data.t().contiguous().t()

"""One pass over pages: where its tokens go, and what they attend to, as tensors on the device.

The same tensors serve a ragged pass, for which they are made anew, and a fixed-size step, where
they are buffers that the next step overwrites (`rstitch.engine.static`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from rstitch.engine.batch import Span
from rstitch.engine.dense import Extra
from rstitch.engine.paged import choice
from rstitch.engine.paged.memory import PagedKV


@dataclass
class PagedBatch:
    """R rows that feed T tokens in all, row by row."""

    kv: PagedKV
    positions: Tensor
    """int64 (T,): where tokens are in their rows."""
    cells: Tensor
    """int64 (T,): where their keys and values go, see `PagedKV.cells`."""
    table: Tensor
    """int32 (R, pages): the rows' pages in order, then page 0."""
    starts: Tensor
    """int32 (R + 1,): each row's first place in the batch, and the batch's end."""
    counts: Tensor
    """int32 (R,): tokens that it feeds; of a fixed width some are padding, and not among these."""
    ends: Tensor
    """int32 (R,): tokens in the row after the pass."""
    fed: Sequence[int]
    """The places of each row in the batch, padding included, as the host knows them."""
    keys: int
    """No row is longer than this after the pass."""
    known_tiles: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By `tiles`; who has the same rows again and again keeps it."""

    @classmethod
    def of(cls, kv: PagedKV, spans: Sequence[Span], device: torch.device) -> PagedBatch:
        """A ragged pass; the pages are there already (`PagedKV.grow`)."""

        def ints(values: Sequence[int] | list[list[int]], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        fed = [span.count for span in spans]
        return cls(
            kv,
            ints([p for s in spans for p in range(s.start, s.end)], torch.int64),
            ints([c for s in spans for c in kv.cells(s.slot, s.start, s.end)], torch.int64),
            ints(kv.table([span.slot for span in spans]), torch.int32),
            ints([0, *accumulate(fed)], torch.int32),
            ints(fed, torch.int32),
            ints([span.end for span in spans], torch.int32),
            fed,
            max(span.end for span in spans),
        )

    @property
    def width(self) -> int:
        """Places of the row that has most."""
        return max(self.fed)

    def tiles(self, size: int) -> tuple[Tensor, Tensor]:
        """The batch cut into pieces of at most so many tokens of one row: int32 (pieces,) each, the
        row, and the piece's first token counted from the row's first."""
        if size not in self.known_tiles:
            pairs = [(r, i) for r, n in enumerate(self.fed) for i in range(0, n, size)]
            rows, first = torch.tensor(pairs, dtype=torch.int32).to(self.starts.device).unbind(1)
            self.known_tiles[size] = rows.contiguous(), first.contiguous()
        return self.known_tiles[size]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, extra: Extra) -> Tensor:
        """What transformers calls per layer: (1, heads, T, dim) -> (1, T, heads, dim)."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        pools = self.kv.layer(layer, k, v)
        backend = choice.backend(query.device)
        backend.store(k, v, *pools, self.cells)
        return backend.attend(q, *pools, self, extra)[None]

"""Where the tokens of one forward pass live: rows in feeding order, and who attends to what.

A pass is a flat ragged batch [1, tokens]. Rows that feed about as many tokens share one padded
attention call over a range of slots; a row that feeds many more attends by itself. Everything that
depends on the pass alone is worked out once here and used by every layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from rstitch.engine.kv import KVSlabs
from rstitch.engine.part import Part, parts
from rstitch.engine.prefix import Share

ALONE = 12
"""What an attention call of its own costs a row, in tokens: fewer are better padded with others."""


@dataclass(frozen=True, slots=True)
class Span:
    """One row's part of a flat batch."""

    slot: int
    start: int
    """Tokens in the slot already: where the first fed one goes."""
    count: int
    """Tokens fed now."""

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass
class Batch:
    """The rows of one pass, and the memory they write to."""

    kv: KVSlabs
    spans: list[Span]
    device: torch.device
    _biases: dict[tuple[int, int | None, int], Tensor | None] = field(default_factory=dict)

    @cached_property
    def shares(self) -> list[Share | None]:
        """What each row refers to; empty where none does."""
        if not self.kv.shares:
            return []
        found = [self.kv.shares.get(span.slot) for span in self.spans]
        return found if any(found) else []

    @cached_property
    def positions(self) -> Tensor:
        """int64 (tokens,): where they are in their rows."""
        if not self.shares:
            return self.places
        before = [share.tokens if share else 0 for share in self.shares]
        flat = [
            b + p for s, b in zip(self.spans, before, strict=True) for p in range(s.start, s.end)
        ]
        return torch.tensor(flat, device=self.device)

    @cached_property
    def parts(self) -> list[Part]:
        """The prefixes that are attended, each with the tokens of all its rows."""
        return parts(self.shares, [span.count for span in self.spans], self.positions)

    @cached_property
    def places(self) -> Tensor:
        """int64 (tokens,): where they go in their slots."""
        if len(self.spans) == 1:
            return torch.arange(self.spans[0].start, self.spans[0].end, device=self.device)
        flat = [p for s in self.spans for p in range(s.start, s.end)]
        return torch.tensor(flat, device=self.device)

    @cached_property
    def slots(self) -> Tensor:
        """int64 (tokens,)."""
        flat = [s.slot for s in self.spans for _ in range(s.count)]
        return torch.tensor(flat, device=self.device)

    @cached_property
    def offsets(self) -> list[int]:
        """Start of each row in the flat batch."""
        starts, total = [], 0
        for span in self.spans:
            starts.append(total)
            total += span.count
        return starts

    @cached_property
    def together(self) -> list[int]:
        """Indexes of the rows that share the padded call; none where one would be alone in it.

        The longest attend by themselves as far as that saves padding: with the k longest apart, a
        pass costs their tokens, ALONE for each, and a rectangle as wide as the next.
        """
        counts = sorted((span.count for span in self.spans), reverse=True)
        costs, apart = [], 0
        for k, width in enumerate(counts):
            costs.append(apart + (len(counts) - k) * width)
            apart += width + ALONE
        widest = counts[costs.index(min(costs))]
        short = [i for i, span in enumerate(self.spans) if span.count <= widest]
        return short if len(short) > 1 else []

    @cached_property
    def apart(self) -> list[int]:
        """Indexes of the rows that attend by themselves."""
        return sorted(set(range(len(self.spans))) - set(self.together))

    @cached_property
    def padding(self) -> Padding:
        """How the rows of `together` lie in their rectangle."""
        return Padding.of(
            [self.spans[i] for i in self.together],
            [self.offsets[i] for i in self.together],
            self.device,
            whole=not self.apart,
        )

    def row_bias(self, index: int, window: int | None, group: int, like: Tensor) -> Tensor | None:
        """What row `index` adds to its scores, (1, 1, group * count, end); None for nothing."""
        key = (index, window, group)
        if key not in self._biases:
            span, bias = self.spans[index], None
            if span.count > 1 or (window is not None and window < span.end):
                query = torch.arange(span.start, span.end, device=self.device)[:, None]
                keys = torch.arange(span.end, device=self.device)
                bias = additive(visible(query, keys, window)[None, None], group, like)
            self._biases[key] = bias
        return self._biases[key]

    def padded_bias(self, window: int | None, group: int, like: Tensor) -> Tensor:
        """What the rectangle adds to its scores, (rows, 1, group * width, keys)."""
        key = (-1, window, group)
        if key not in self._biases:
            query = self.padding.query_positions[:, None, :, None]
            keys = torch.arange(self.padding.keys, device=self.device)
            self._biases[key] = additive(visible(query, keys, window), group, like)
        bias = self._biases[key]
        assert bias is not None
        return bias


@dataclass(frozen=True, slots=True)
class Padding:
    """How ragged rows lie in a padded (rows, width) rectangle over a range of slots."""

    first: int
    rows: int
    """Slots first .. first + rows - 1 are attended as one view, taking part or not."""
    picked: Tensor | None
    """Slot of each row when the range would be mostly idle: those slots are gathered instead."""
    width: int
    keys: int
    """Longest row in tokens."""
    source: Tensor
    """int64 (tokens,): where the rows' tokens are in the flat batch."""
    index: Tensor
    """int64 (tokens,): where each of them lies in the flattened rectangle."""
    query_positions: Tensor
    """int64 (rows, width); 0 where idle, so that idle queries attend something finite."""
    dense: bool
    """Every place of the rectangle is a token of the flat batch, in order: nothing has to move."""

    @classmethod
    def of(
        cls, spans: list[Span], offsets: list[int], device: torch.device, whole: bool
    ) -> Padding:
        """`whole`: these are all rows of the batch."""
        slots = [s.slot for s in spans]
        first, reach = min(slots), max(slots) - min(slots) + 1
        width = max(s.count for s in spans)
        # Attending an idle slot costs `width` queries, copying a row's keys and values about one.
        gather = (reach - len(spans)) * width > len(spans)
        row_of = {s: i for i, s in enumerate(slots)} if gather else {s: s - first for s in slots}
        rows = len(spans) if gather else reach
        index = [row_of[s.slot] * width + i for s in spans for i in range(s.count)]
        source = [o + i for s, o in zip(spans, offsets, strict=True) for i in range(s.count)]
        positions = torch.zeros(rows * width, dtype=torch.long)
        positions[torch.tensor(index)] = torch.tensor(
            [p for s in spans for p in range(s.start, s.end)]
        )
        return cls(
            first=first,
            rows=rows,
            picked=torch.tensor(slots, device=device) if gather else None,
            width=width,
            keys=max(s.end for s in spans),
            source=torch.tensor(source, device=device),
            index=torch.tensor(index, device=device),
            query_positions=positions.view(rows, width).to(device),
            dense=whole and index == list(range(rows * width)),
        )

    def view(self, slab: Tensor) -> Tensor:
        """(rows, kv_heads, keys, dim) of a slab."""
        if self.picked is not None:
            return slab[:, :, : self.keys].index_select(0, self.picked)
        return slab[self.first : self.first + self.rows, :, : self.keys]


def visible(query: Tensor, key: Tensor, window: int | None) -> Tensor:
    """Causal, and within the sliding window: a query at i sees keys j with i - window < j <= i."""
    seen = key <= query
    return seen if window is None else seen & (key > query - window)


def additive(seen: Tensor, group: int, like: Tensor) -> Tensor:
    """0 where bool (rows, 1, n, keys) is True and -inf elsewhere, once per query head of a group:
    (rows, 1, group * n, keys) in the dtype of `like`."""
    bias = torch.zeros(seen.shape, dtype=like.dtype, device=seen.device)
    bias.masked_fill_(~seen, -torch.inf)
    return torch.cat([bias] * group, 2) if group > 1 else bias  # `repeat` takes six times as long

"""What the gate in a worker says of one distribution, as numbers beside the token.

vLLM returns the processed logits of whatever ids a request names. After the gate has chosen, no
logit but that of the emitted token means anything any more, so the others carry its report: one
number per column, in two copies, of which the emitted token can overwrite one only. All are
float32 values and arrive as they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.errors import BadRequest
from rstitch.policy.base import Policy
from rstitch.types import Proposal, Side

FIXED = ("entropy", "token", "logprob", "keep", "next_side", "rows")
"""What every report begins with. `token` is exact: float32 counts to 2**24. `rows` is below 0 where
the policy's memory was not there."""
SIGNALS, MEMORY, TOPS = 8, 18, 20
"""Most signals and numbers of memory of a policy, and most `top_logprobs`, that a report holds."""
BOTH = 18
"""Most signals and numbers of memory together: vLLM returns 128 columns, two copies of 64."""
UNBOUNDED = 2.0**127
"""Stands for infinity, which would win against the token."""
AT_SIGNALS = len(FIXED)
AT_MEMORY = AT_SIGNALS + SIGNALS
AT_TOPS = AT_MEMORY + MEMORY
WIDTH = AT_TOPS + 2 * TOPS
"""Columns that one copy takes at most."""
ENOUGH = 2 * WIDTH + 1
"""Columns that a model must have."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the numbers of one request's reports are. Made once per request and side."""

    columns: int
    """Of the side's logits."""
    vocab_size: int
    """Tokens that its tokenizer really has."""
    signals: tuple[str, ...]
    memory: int
    """Numbers of the policy's state row."""
    tops: int
    """Likeliest tokens that were asked for."""

    @classmethod
    def of(cls, policy: Policy, columns: int, vocab_size: int, tops: int) -> Layout:
        """Raises BadRequest for what no report holds."""
        signals, memory = policy.recorded(), len(policy.initial_state())
        if len(signals) > SIGNALS or len(signals) + memory > BOTH:
            raise BadRequest(
                f"policy {policy.name!r} has {len(signals)} signals and {memory} numbers of "
                f"memory; on vLLM there is room for {SIGNALS}, and for {BOTH} together: use engine "
                "'torch'"
            )
        if tops > TOPS:
            raise BadRequest(f"top_logprobs is {tops}; vLLM tells at most {TOPS}")
        return cls(columns, vocab_size, signals, memory, tops)

    @property
    def fields(self) -> list[int]:
        """The fields in use."""
        signals = range(AT_SIGNALS, AT_SIGNALS + len(self.signals))
        memory = range(AT_MEMORY, AT_MEMORY + self.memory)
        tops = range(AT_TOPS, AT_TOPS + 2 * self.tops)
        return [*range(len(FIXED)), *signals, *memory, *tops]

    @property
    def asked(self) -> list[int]:
        """Ids whose logits vLLM is asked for. The second copy is left out where the first lies
        past the vocabulary, since nothing is emitted there."""
        fields = self.fields
        copies = 1 if column(self.columns, max(fields), 0) > self.stop else 2
        return [column(self.columns, field, copy) for copy in range(copies) for field in fields]

    @property
    def stop(self) -> int:
        """The id that ends a turn where control passes: one without a token, or else the last.
        Were that one really drawn, a turn would end early and lose nothing."""
        return min(self.vocab_size, self.columns - 1)

    def read(self, emitted: int, values: Sequence[float]) -> Report:
        """What the asked columns' values say, beside the emitted id."""
        fields = self.fields
        hidden = self.columns - WIDTH <= emitted < self.columns
        second = len(values) >= 2 * len(fields) and hidden
        mine = values[len(fields) :] if second else values
        whole = (v if abs(v) < UNBOUNDED else math.copysign(math.inf, v) for v in mine)
        return Report(self, dict(zip(fields, whole, strict=False)))


def column(columns: int, field: int, copy: int) -> int:
    """The id that carries a field: from the end, since padding is there."""
    return columns - 1 - copy * WIDTH - field


@dataclass(frozen=True, slots=True)
class Report:
    """One distribution, as the gate saw it."""

    layout: Layout
    values: dict[int, float]

    def of(self, name: str) -> float:
        return self.values[FIXED.index(name)]

    @property
    def rows(self) -> int:
        """Requests that shared the pass."""
        return abs(int(self.of("rows")))

    @property
    def forgot(self) -> bool:
        """The policy decided without its memory: vLLM had put the request aside meanwhile."""
        return self.layout.memory > 0 and self.of("rows") < 0

    @property
    def unscored(self) -> bool:
        """The policy scores the hidden state, and that could not be done."""
        signals = self.layout.signals
        if "score" not in signals:
            return False
        return math.isinf(self.values[AT_SIGNALS + signals.index("score")])

    @property
    def memory(self) -> list[float]:
        """The policy's state row after it."""
        return [self.values[AT_MEMORY + i] for i in range(self.layout.memory)]

    def proposal(self, position: int, side: Side) -> Proposal:
        named = enumerate(self.layout.signals, AT_SIGNALS)
        return Proposal(
            position=position,
            token=int(self.of("token")),
            side=side,
            keep=bool(self.of("keep")),
            next_side=Side(int(self.of("next_side"))),
            entropy=self.of("entropy"),
            logprob=self.of("logprob"),
            signals={name: self.values[field] for field, name in named},
            top_logprobs=tuple(self._tops()),
        )

    def _tops(self) -> list[tuple[int, float]]:
        pairs = (AT_TOPS + 2 * i for i in range(self.layout.tops))
        return [(int(self.values[at]), self.values[at + 1]) for at in pairs]

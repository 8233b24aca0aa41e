"""A model whose distributions are written down, for engine tests worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rstitch.config import EngineConfig
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.marks import Marks
from rstitch.engine.runner import Extend, Wanted
from rstitch.types import Side

VOCAB = 16
EOS = 1

Script = Callable[[int], Tensor]
"""From the number of tokens of the answer so far to raw logits (VOCAB,)."""


def sure(token: int) -> Tensor:
    """Entropy 0."""
    return torch.full((VOCAB,), -math.inf).index_fill(0, torch.tensor(token), 0.0)


def unsure(token: int) -> Tensor:
    """The likeliest of many: entropy about 0.9, probability about 0.33."""
    return torch.zeros(VOCAB).index_fill(0, torch.tensor(token), 2.0)


def says(*logits: Tensor, then: Tensor | None = None) -> Script:
    """One distribution per position of the answer, then another for ever."""
    last = sure(2) if then is None else then
    return lambda position: logits[position] if position < len(logits) else last


class Slots:
    """What is cached, under the name by which tests look for left-overs."""

    def __init__(self) -> None:
        self.length: dict[int, int] = {}

    def check_integrity(self) -> None:
        pass


class Scripted:
    """A Runner that keeps plain lists, holds its caller to the contract and writes down each call.
    A prompt is as long as `prompt` says, on every row."""

    vocab_size = VOCAB

    token_bytes = 1
    """So that one byte of KV is one token."""

    def __init__(self, script: Script, prompt: int, max_length: int = 64, rows: int = 8) -> None:
        self.script, self.prompt, self.max_length, self.rows = script, prompt, max_length, rows
        self.cells = rows * max_length
        self.ids: dict[int, list[int]] = {}
        self.kv = Slots()
        self.calls: list[list[list[int]]] = []
        """Tokens fed to each row, per pass."""
        self.wanted: list[list[int]] = []
        """Distributions asked for of each row, per pass."""
        self.hidden_passes = 0
        self.fail_on: Callable[[Sequence[Extend]], bool] = lambda batch: False

    def open(self) -> int:
        row = next(i for i in range(self.rows + 1) if i not in self.ids)
        assert row < self.rows, "more rows than the engine may have in flight"
        self.ids[row] = []
        self.kv.length[row] = 0
        return row

    def cached(self, row: int) -> int:
        return len(self.ids[row])

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        assert batch and all(item.tokens for item in batch), "nothing to feed"
        assert len({item.row for item in batch}) == len(batch), "a row twice"
        if self.fail_on(batch):
            raise RuntimeError("the device is on fire")
        for item in batch:
            self.ids[item.row] += item.tokens
            self.kv.length[item.row] = len(self.ids[item.row])
            assert len(self.ids[item.row]) <= self.max_length, "longer than the context"
        assert self.nbytes <= self.cells, f"{self.nbytes} tokens over a bound of {self.cells}"
        self.calls.append([list(item.tokens) for item in batch])
        everything = [len(item.tokens) for item in batch]
        if isinstance(logits, str):
            counts = everything if logits == "all" else [1] * len(batch)
        else:
            counts = list(logits)
        assert all(1 <= n <= most for n, most in zip(counts, everything, strict=True)), counts
        self.wanted.append(counts)
        ends = [len(self.ids[item.row]) - self.prompt for item in batch]
        answers = [
            n for end, k in zip(ends, counts, strict=True) for n in range(end - k + 1, end + 1)
        ]
        # In the middle of a prompt the model would say something too; nobody may listen.
        return torch.stack([self.script(n) if n >= 0 else sure(15) for n in answers])

    def extend_hidden(
        self, batch: Sequence[Extend], logits: Wanted = "last"
    ) -> tuple[Tensor, Tensor]:
        """The "hidden state" is the logits themselves."""
        self.hidden_passes += 1
        out = self.extend(batch, logits)
        return out, out

    def truncate(self, row: int, n: int) -> None:
        assert 0 <= n <= len(self.ids[row])
        del self.ids[row][n:]
        self.kv.length[row] = n

    def fork(self, row: int, n: int) -> int:
        copy = self.open()
        self.ids[copy] = self.ids[row][:n]
        self.kv.length[copy] = n
        return copy

    def free(self, row: int) -> None:
        del self.ids[row], self.kv.length[row]

    @property
    def nbytes(self) -> int:
        return sum(self.kv.length.values())

    @property
    def held(self) -> int:
        return self.nbytes

    def bound(self, nbytes: int) -> int:
        self.cells = min(self.cells, nbytes)
        return self.cells

    def fits(self, lengths: Sequence[int]) -> bool:
        """Tokens are held one by one here, as in pages of one."""
        return len(lengths) <= self.rows and sum(lengths) <= self.cells


SLM_PROMPT, LLM_PROMPT = (4, 5), (6, 7, 8)
PROMPTS: Mapping[Side, tuple[int, ...]] = {Side.SLM: SLM_PROMPT, Side.LLM: LLM_PROMPT}


def scripted(
    slm: Script,
    llm: Script,
    tokenizer: Any = None,
    marks: Marks | None = None,
    **settings: Any,
) -> InProcessEngine:
    """An engine on two scripts; prompts are those above."""
    config = EngineConfig(**{"max_rows": 8, "measure_costs": False, **settings})
    runners = {
        Side.SLM: Scripted(slm, len(SLM_PROMPT), rows=config.max_rows),
        Side.LLM: Scripted(llm, len(LLM_PROMPT), rows=config.max_rows),
    }
    return InProcessEngine(runners, frozenset({EOS}), config, tokenizer, marks=marks)

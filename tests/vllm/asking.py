"""Rows of a batch as the in-process gate and a worker's gate take them."""

from __future__ import annotations

import importlib.util
import os
import signal
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from rstitch.api import Stitch
from rstitch.engine.request import Request
from rstitch.engine.sequence import Sequence
from rstitch.policy import Policy
from rstitch.types import Proposal, Sampling, Side
from rstitch.vllm.asked import Asked
from rstitch.vllm.judge import judge
from rstitch.vllm.report import Layout, Report
from rstitch.vllm.slots import Slots


def needs_vllm() -> None:
    """Skip where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; make vllm")


def kill(stitch: Stitch, side: Side) -> None:
    """The engine's process, as the system would for want of memory."""
    engine: Any = stitch.engine
    for process in engine.runners[side].llm.engine_core.resources.engine_manager.processes:
        os.kill(process.pid, signal.SIGKILL)


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Turn:
    """One request at one position."""

    policy: Policy
    sampling: Sampling
    written: int = 0
    prompt: int = 3
    tops: int = 0

    def row(self, side: Side) -> Sequence:
        """For the in-process gate."""
        request = Request(
            dict.fromkeys(Side, (1,) * self.prompt),
            self.policy,
            self.sampling,
            top_logprobs=self.tops,
        )
        limits, nobody = dict.fromkeys(Side, 100), dict.fromkeys(Side, None)
        seed = self.sampling.seed or 0
        row = Sequence.begin(request, "r", seed, 0.0, nobody, limits, None)
        row.side = side
        row.tokens = [1] * self.written
        row.sides = [side] * self.written
        return row

    def layout(self, columns: int, vocab_size: int) -> Layout:
        return Layout.of(self.policy, columns, vocab_size, self.tops)

    def asked(self, side: Side, layout: Layout) -> Asked:
        drawn = self.sampling
        asked = Asked(
            policy=self.policy.spec(),
            side=int(side),
            columns=layout.columns,
            vocab_size=layout.vocab_size,
            prompt=self.prompt,
            start=self.written,
            memory=self.policy.initial_state(),
            stop=layout.stop,
            seed=drawn.seed or 0,
            accepted=0.0,
            temperature=drawn.temperature,
            top_k=drawn.top_k,
            top_p=drawn.top_p,
            min_p=drawn.min_p,
            tops=self.tops,
        )
        found = Asked.of(asked.as_args())
        assert found is not None
        return found


def judged(
    logits: Tensor,
    turns: list[Turn],
    side: Side,
    vocab_size: int,
    hidden: Tensor | None = None,
) -> list[Report]:
    """What a worker reports of rows of logits, read as a session reads it."""
    columns = logits.shape[1]
    slots = Slots(len(turns) + 2, CPU)
    layouts = [turn.layout(columns, vocab_size) for turn in turns]
    on_host = [len(turns) + 1 - i for i in range(len(turns))]  # in no order
    for slot, turn, layout in zip(on_host, turns, layouts, strict=True):
        slots.put(slot, turn.asked(side, layout))
    slots.flush()
    ends = torch.tensor([turn.prompt + turn.written for turn in turns])
    out = judge(logits.clone(), slots, torch.tensor(on_host), ends, on_host, hidden)
    emitted = out.argmax(-1).tolist()
    return [
        layout.read(token, row[layout.asked].tolist())
        for layout, token, row in zip(layouts, emitted, out, strict=True)
    ]


def assert_alike(found: Proposal, expected: Proposal, turn: Turn) -> None:
    """But for the last bits of its numbers, since the in-process gate reads some rows by numpy."""
    numbers = [_numbers(one) for one in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-5), turn
    assert _choices(found) == _choices(expected), turn


def _numbers(one: Proposal) -> list[float]:
    likeliest = [logprob for _, logprob in one.top_logprobs]
    return [one.entropy, one.logprob, *one.signals.values(), *likeliest]


def _choices(one: Proposal) -> tuple[Any, ...]:
    likeliest = [token for token, _ in one.top_logprobs]
    return one.position, one.token, one.side, one.keep, one.next_side, [*one.signals], likeliest

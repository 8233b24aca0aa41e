"""Tiny random models for tests: real architectures, seeded weights, no download.

Also what tests do with an engine on them: run requests to the end, look for left-overs, and ask
transformers' own forward pass, the second implementation that everything is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from rstitch.config import EngineConfig
from rstitch.engine.attention import NAME
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.marks import Marks
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.request import Request
from rstitch.engine.torch_runner import TorchRunner
from rstitch.sampling import log_probs
from rstitch.types import Event, Failed, Finished, Proposal, Side, Token
from tests.fakes import Scripted

VOCAB = 97
"""Real ids; both models have more logit rows, and not equally many."""
EOS = 3
ROWS = {Side.SLM: 100, Side.LLM: 104}


class Numbers:
    """Token n is the number n; the last ten hold blank lines, the ten before end with a line feed,
    ten more start with one."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(self.one(token) for token in ids)

    @staticmethod
    def one(token: int) -> str:
        if token >= VOCAB - 10:
            return f"{token}.\n\n"
        return (
            f"{token}\n"
            if token >= VOCAB - 20
            else f"\n{token}"
            if token >= VOCAB - 30
            else f"{token} "
        )


OPEN, CLOSE = 5, 6
"""Ids that stand for the marks of a thought; models and prompts use them like any others."""
MARKS = Marks(dict.fromkeys(Side, (OPEN, CLOSE)), dict.fromkeys(Side, Numbers()))


@lru_cache
def model(side: Side, attention: str = NAME) -> PreTrainedModel:
    """A 1- or 2-layer Qwen2; sharp logits, so that greedy choices have clear gaps."""
    torch.manual_seed(int(side) + 1)
    large = side is Side.LLM
    config = Qwen2Config(
        vocab_size=ROWS[side],
        hidden_size=64 if large else 32,
        intermediate_size=96 if large else 48,
        num_hidden_layers=2 if large else 1,
        num_attention_heads=4 if large else 2,
        num_key_value_heads=2 if large else 1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    config._attn_implementation = attention
    return Qwen2ForCausalLM(config).eval()


LAYOUT = "slabs"
"""Where the KV of new runners lies; tests/engine/test_paged_laws.py sets it to "paged", or to
"static": in pages, and decoding in steps of fixed shape."""
STEPS: int | None = None
"""Of a block there; None leaves it to the engine."""
PAGE = 8
"""Tokens of a page there: rows of these models take many."""


def runner(side: Side, max_rows: int = 8, layout: str | None = None) -> TorchRunner:
    layout = layout or LAYOUT
    kv = None if layout == "slabs" else PagedKV(max_rows, 256, PAGE)
    return TorchRunner(model(side), VOCAB, max_rows, 256, kv=kv, static=layout == "static")


def engine(llm: Side = Side.LLM, **settings: Any) -> InProcessEngine:
    """An engine on the random pair; `llm=Side.SLM` puts the same model on both sides."""
    config = EngineConfig(**{"max_rows": 8, "measure_costs": False, **settings})
    runners = {
        Side.SLM: runner(Side.SLM, config.max_rows),
        Side.LLM: runner(llm, config.max_rows),
    }
    made = InProcessEngine(runners, frozenset({EOS}), config, marks=MARKS)
    for blocks in made.loop.blocks.values():
        blocks.steps = STEPS
    return made


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    """Random ids, without the first few, which stand for special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(4, VOCAB, (length,), generator=generator).tolist())


# -- transformers' own passes ---------------------------------------------------------------------


@torch.inference_mode()
def plain_logits(side: Side, ids: Iterable[int]) -> Tensor:
    """Raw logits (tokens, columns) of a full forward pass by transformers' eager attention."""
    return model(side, "eager")(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]


def plain_log_probs(side: Side, ids: Iterable[int]) -> Tensor:
    """The same as log-probabilities of the real tokens: (tokens, VOCAB)."""
    return log_probs(plain_logits(side, ids), VOCAB)


def plain_greedy(side: Side, prompt: tuple[int, ...], max_tokens: int) -> list[int]:
    """What transformers' `generate` writes greedily; padded columns are forbidden to it."""
    out = model(side, "eager").generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=EOS,
        pad_token_id=0,
        suppress_tokens=list(range(VOCAB, ROWS[side])),
    )
    return out[0, len(prompt) :].tolist()


# -- running an engine ----------------------------------------------------------------------------


def context(proposals: Iterable[Proposal]) -> list[int]:
    """The answer's tokens after these proposals, as far as they were not taken back by then."""
    kept: list[int] = []
    for p in proposals:
        del kept[len(kept) - p.back :]
        kept += [p.token] * (p.keep or p.taken_back)
    return kept


@dataclass
class Answer:
    """What an engine said about one request."""

    proposals: list[Proposal] = field(default_factory=list)
    """Kept and discarded, in order."""
    text: str = ""
    end: Finished | Failed | None = None

    @property
    def tokens(self) -> list[int]:
        return [p.token for p in self.proposals if p.keep]

    @property
    def steps(self) -> list[tuple[int, Side, bool, Side]]:
        return [(p.token, p.side, p.keep, p.next_side) for p in self.proposals]

    @property
    def decided(self) -> list[tuple[int, Side, bool, Side]]:
        """The same, as decided at the time: what was taken back later counts as kept."""
        return [(p.token, p.side, p.keep or p.taken_back, p.next_side) for p in self.proposals]

    @property
    def finished(self) -> Finished:
        assert isinstance(self.end, Finished), self.end
        return self.end

    def add(self, event: Event) -> None:
        assert self.end is None, f"{event} after the end"
        if isinstance(event, Token):
            self.proposals.append(event.proposal)
            self.text += event.text
        else:
            self.text += event.text if isinstance(event, Finished) else ""
            self.end = event


def drain(engine: InProcessEngine, after: Callable[[Event], None] | None = None) -> list[Event]:
    """Step until nothing is in flight; `after` sees each event as it comes."""
    events: list[Event] = []
    for _ in range(20_000):
        if engine.idle:
            return events
        for event in engine.step():
            events.append(event)
            if after:
                after(event)
    raise AssertionError(f"still busy after 20,000 steps: {engine.stats()}")


def collect(events: Iterable[Event], ids: Iterable[str]) -> list[Answer]:
    """The answers to these requests, from events of any."""
    answers = {request: Answer() for request in ids}
    for event in events:
        if event.request in answers:
            answers[event.request].add(event)
    return list(answers.values())


def run(engine: InProcessEngine, requests: Iterable[Request]) -> list[Answer]:
    """Submit all at once, run to the end, and check that nothing is left behind."""
    ids = [engine.submit(request) for request in requests]
    answers = collect(drain(engine), ids)
    assert_clean(engine)
    return answers


def assert_clean(engine: InProcessEngine) -> None:
    """Nothing of any request is left: nothing queued or in flight, and on either side no KV row
    but the idle ones, each of which has cached what it is said to have."""
    assert not engine.scheduler.active and not engine.scheduler.queue, engine.stats()
    for side, one in engine.runners.items():
        idle = {row.row: len(row.ids) for row in engine.rows.idle[side]}
        slots = getattr(one.kv, "slot_of", {row: row for row in idle})
        want = {slots[row] for row in idle}
        assert one.kv.length.keys() == want, f"{side.name} still holds rows {one.kv.length}"
        assert {row: one.cached(row) for row in idle} == idle
        for row in engine.rows.idle[side] if isinstance(one, Scripted) else ():
            assert one.ids[row.row] == list(row.ids), f"{side.name}, {row}"
        one.kv.check_integrity()

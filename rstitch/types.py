"""The nouns that every part shares: sides, sampling settings, tokens, events. No torch here.

A token carries who wrote it and how sure that model was, because provenance is the product: the
trace, the coloured terminal, the server and `explain` all read these records. Nobody changes one.
"""

from __future__ import annotations

import math
import secrets
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any, Literal, get_args

from rstitch.errors import BadRequest


class Side(IntEnum):
    """One of the two models. The integer is what policies see in their tensors."""

    SLM = 0
    LLM = 1

    other: Side

    @property
    def label(self) -> str:
        return self.name.lower()


Side.SLM.other, Side.LLM.other = Side.LLM, Side.SLM  # a property takes three calls of Enum

SHIFTS = ("presence_penalty", "frequency_penalty", "logit_bias")
"""Sampling settings that change the logits themselves."""
BIAS = "a tuple of (token id, number from -100 to 100), each id once"
FinishReason = Literal["stop", "length", "cancelled"]
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn from a distribution; the same for both sides.

    Bias and penalties change the logits first (OpenAI's law), then filters apply in the order
    temperature, top_k, top_p, min_p. Entropy and log-probabilities are always those of the raw
    distribution (temperature 1, unfiltered, without bias and penalties).
    """

    temperature: float = 0.0
    """0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of likeliest tokens whose probability reaches this."""
    min_p: float = 0.0
    """Drop tokens less likely than this times the likeliest."""
    seed: int | None = None
    """Draws are a pure function of (seed, position); None takes a fresh seed, which is recorded."""
    presence_penalty: float = 0.0
    """Taken from the logits of all tokens that the answer has so far, whoever wrote them; -2..2."""
    frequency_penalty: float = 0.0
    """The same for each time that the answer has the token; -2..2."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit, -100..100): ids of the LLM, or of the SLM where it
    writes alone. A side that lacks the token cannot write it anyhow."""

    def __post_init__(self) -> None:
        def need(ok: bool, name: str, value: object, what: str) -> None:
            if not ok:
                raise BadRequest(f"{name} is {value!r}; it must be {what}")

        for name, value in (("temperature", self.temperature), ("top_p", self.top_p)):
            need(isinstance(value, int | float), name, value, "a number")
        need(isinstance(self.min_p, int | float), "min_p", self.min_p, "a number")
        need(isinstance(self.top_k, int), "top_k", self.top_k, "a whole number")
        need(isinstance(self.seed, int | None), "seed", self.seed, "a whole number")
        finite = math.isfinite(self.temperature) and self.temperature >= 0
        need(finite, "temperature", self.temperature, "0 (greedy) or a positive number")
        need(self.top_k >= 0, "top_k", self.top_k, "0 (off) or a positive whole number")
        need(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        need(0 <= self.min_p <= 1, "min_p", self.min_p, "between 0 and 1")
        in_range = self.seed is None or 0 <= self.seed < 2**63
        need(in_range, "seed", self.seed, "a whole number from 0 to 2**63 - 1")
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            fits = isinstance(value, int | float) and -2 <= value <= 2
            need(fits, name, value, "a number from -2 to 2")
        need(_is_bias(self.logit_bias), "logit_bias", self.logit_bias, BIAS)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Sampling:
        """From `as_dict`, or a table of some of its keys."""
        bias = record.get("logit_bias", ())
        if isinstance(bias, list) and all(isinstance(pair, list) for pair in bias):
            bias = tuple(map(tuple, bias))
        return cls(**{**record, "logit_bias": bias})

    def as_dict(self) -> dict[str, Any]:
        """As it stands in records; penalties and bias are left out where they are off."""
        found = {name: value for name, value in asdict(self).items() if value or name not in SHIFTS}
        if self.logit_bias:
            found["logit_bias"] = [list(pair) for pair in self.logit_bias]
        return found

    @property
    def shifts(self) -> bool:
        """A bias or penalties change the logits."""
        return bool(self.presence_penalty or self.frequency_penalty or self.logit_bias)

    @property
    def likeliest(self) -> bool:
        """It takes the likeliest token of the raw distribution."""
        return not (self.temperature or self.shifts)

    def seeded(self) -> Sampling:
        """Itself, with a fresh seed if it has none."""
        return self if self.seed is not None else replace(self, seed=secrets.randbits(62))


def _is_bias(pairs: object) -> bool:
    if not isinstance(pairs, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in pairs):
        return False
    ids = [token for token, _ in pairs]
    whole = all(type(token) is int and token >= 0 for token in ids)
    fits = all(isinstance(value, int | float) and -100 <= value <= 100 for _, value in pairs)
    return whole and fits and len(set(ids)) == len(ids)


def sample_seed(seed: int, index: int) -> int:
    """The seed of a request's index-th sample; sample 0 has the request's own.

    Sample i is the answer that the same request gives alone with this seed. The others' seeds are
    splitmix64 outputs (Steele et al. 2014) of the stream that starts at `seed`, cut to 63 bits.
    """
    if index == 0:
        return seed
    z = (seed + index * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) >> 1


@dataclass(slots=True)  # a frozen one takes several times as long to make
class Proposal:
    """One distribution that was read: the token drawn from it and what the policy decided."""

    position: int
    """Index in the answer, from 0."""
    token: int
    """Token id in the vocabulary of `side`."""
    side: Side
    """Who produced it."""
    keep: bool
    """False: not in the answer. Discarded at a hand-off, or taken back; the other side produces
    this position instead."""
    next_side: Side
    """Who is asked next."""
    entropy: float
    """Normalised entropy of the raw distribution, 0..1; a float32 value, so that it round-trips."""
    logprob: float
    """Natural log of the raw probability of `token`."""
    signals: dict[str, float]
    """Everything else that the policy read at this position, by name."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest (token id, raw log-probability) pairs, if they were asked for."""
    span: tuple[float, ...] = ()
    """Raw log-probabilities that the LLM, catching up, gave the SLM's tokens before this position;
    recorded where the policy reads `span`."""
    back: int = 0
    """How many of them were taken back: this proposal is for the position of the first."""
    taken_back: bool = False
    """It was kept, and taken back when the LLM read it; `keep` is false."""


@dataclass(slots=True)  # a frozen one takes several times as long to make
class Forward:
    """One forward pass, as one request saw it."""

    side: Side
    rows: int
    """Requests that shared the pass."""
    new_tokens: int
    """Tokens of this request that it fed; more than one is a prefill or a catch-up."""
    context: int
    """Tokens of this request in the KV cache after it."""
    batch_tokens: int
    """Tokens of all requests that it fed."""
    seconds: float
    """Latency of the whole pass, reading included."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took."""

    prompt_tokens: int
    slm_tokens: int
    llm_tokens: int
    discards: int
    handoffs: int
    """Times that control passed, both ways."""
    catchup_tokens: int
    """Tokens of the answer that a side read after the other had written them."""
    seconds: float
    """From accepted to last token."""
    rewound_tokens: int = 0
    """Tokens of the SLM that were taken back when the LLM read them; no others count them."""
    degraded: bool = False
    """The LLM was lost, and the SLM wrote alone from there on."""
    slm_cached_tokens: int = 0
    """Tokens of the SLM's prompt that it did not read for this answer: an ended request, or another
    sample of the same prompt, had left their KV. 0 where the SLM was not asked."""
    llm_cached_tokens: int = 0
    """The same of the LLM's prompt."""

    @property
    def tokens(self) -> int:
        return self.slm_tokens + self.llm_tokens

    @property
    def llm_share(self) -> float:
        """LLM tokens over all kept tokens; 0 for an empty answer."""
        return self.llm_tokens / self.tokens if self.tokens else 0.0

    @property
    def cached_tokens(self) -> int:
        """Of `prompt_tokens`: on the side that has more of them."""
        return max(self.slm_cached_tokens, self.llm_cached_tokens)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tokens": self.tokens, "llm_share": self.llm_share}


CATCH_UP = 16
"""Passes that feed more tokens than this say nothing about the cost of decoding."""


def llm_alone_seconds(usage: Usage, forwards: Sequence[Forward]) -> float | None:
    """A prediction: the answer's tokens times an LLM step as observed in this answer.

    Never flattering: the prompt's prefill is left out, and where fewer than three passes fed a
    single token, the quickest short one stands for a step. None where the LLM wrote all or, beside
    its first pass, was not run.
    """
    passes = [f for f in forwards if f.side is Side.LLM][1:]
    single = [f.seconds for f in passes if f.new_tokens == 1]
    short = [f.seconds for f in passes if f.new_tokens <= CATCH_UP]
    if not short or not usage.slm_tokens:
        return None
    step = statistics.median(single) if len(single) >= 3 else min(short)
    return usage.tokens * step


@dataclass(slots=True)  # a frozen one takes several times as long to make
class Token:
    """Event: a token is kept for good, or a proposal was discarded (`proposal.keep` tells)."""

    request: str
    proposal: Proposal
    text: str
    """Text that this token completed; empty while a character or stop string is undecided."""
    seconds: float = 0.0
    """From accepted to read."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Event: the answer is complete; nothing of the request is left in the engine."""

    request: str
    reason: FinishReason
    usage: Usage
    text: str
    """Text held back until the end, to be appended to what the tokens brought."""
    forwards: tuple[Forward, ...] = ()
    """Every forward pass that the request took part in."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Event: the request ended with an error; nothing of it is left in the engine."""

    request: str
    error: Exception
    forwards: tuple[Forward, ...] = ()
    """Every forward pass that had a part in it until then."""


Event = Token | Finished | Failed

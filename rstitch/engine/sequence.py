"""One answer in the making: its tokens, who wrote them, and what is still unseen by each side."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rstitch.engine.request import Request
from rstitch.engine.runner import Row
from rstitch.engine.span import Span
from rstitch.engine.vocabulary import Translation
from rstitch.errors import BadPolicy
from rstitch.policy.alone import SLMAlone
from rstitch.text import TextStream, Tokenizer
from rstitch.types import Finished, FinishReason, Forward, Proposal, Side, Usage

if TYPE_CHECKING:
    from rstitch.engine.group import Group


@dataclass(slots=True)
class Sequence:
    """Owned by the engine, which alone appends to it."""

    id: str
    request: Request
    seed: int
    side: Side
    """Who is asked next."""
    state: array[float]
    """The policy's memory, float32: plain numbers, of which the gate makes tensors where it needs
    them. A small model's step is too short to do that for one row."""
    text: TextStream | None
    accepted: float
    """Clock seconds."""
    ready_since: float = 0.0
    """When it last became ready to run on its side: its waiting time counts from here."""
    stalled: bool = False
    """It waits for memory, not for its side."""
    group: Group | None = None
    """The other samples of its prompt."""
    rows: dict[Side, Row] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    """Each an id in the vocabulary of the side that wrote it."""
    sides: list[Side] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    forwards: list[Forward] = field(default_factory=list)
    finish: FinishReason | None = None
    translation: Translation | None = None
    """Between the sides' special tokens; None where ids are the same."""
    span: Span | None = None
    """What may still be taken back, where the policy rewinds."""
    thought: tuple[int, bool] | None = None
    """Tokens looked at by `Marks.thinking`, and whether a thought was open after them."""
    uses: dict[Side, tuple[int, Counter[int]]] = field(default_factory=dict)
    """Tokens looked at by `used`, and how often it has seen each, as that side's ids."""
    discarded: set[Side] = field(default_factory=set)
    """Sides whose proposal for the next position was discarded."""
    broken: BadPolicy | None = None
    """What its policy did wrong in this step: it alone ends, not those it shares the pass with."""
    most: int = 0
    """Tokens at which it ends: those asked for, or fewer where a side can hold no more."""
    degraded: bool = False
    """The LLM was lost on the way."""
    reader: Side = field(init=False)
    """In whose ids its text and its stop tokens are: the LLM's, or of who writes alone."""
    pinned: bool = field(init=False)
    """Only one side can ever write."""

    @classmethod
    def begin(
        cls,
        request: Request,
        name: str,
        seed: int,
        now: float,
        tokenizers: Mapping[Side, Tokenizer | None],
        limits: Mapping[Side, int],
        translation: Translation | None,
    ) -> Sequence:
        """A new answer to a checked request. limits: tokens that a row may hold, per side."""
        policy = request.policy
        sides = policy.sides()
        tokenizer = tokenizers[max(sides)]
        rooms = (limits[side] - len(request.prompts[side]) for side in sides)
        return cls(
            id=name,
            request=request,
            seed=seed,
            side=policy.start(),
            state=array("f", policy.initial_state()),
            text=TextStream(tokenizer, stop=request.stop) if tokenizer else None,
            accepted=now,
            translation=translation,
            span=Span() if "span" in policy.reads and len(sides) > 1 else None,
            most=min(request.max_tokens, *rooms),
        )

    def __post_init__(self) -> None:
        self.reader = max(self.request.policy.sides())
        self.pinned = len(self.request.policy.sides()) == 1

    @property
    def owner(self) -> str:
        """On whose behalf it is written."""
        return self.request.owner

    def is_called(self, name: str) -> bool:
        """Whether that is its own name, or that of the request whose sample it is."""
        return name in (self.id, self.id.partition(".")[0])

    def degrade(self) -> None:
        """From here on the SLM writes alone."""
        self.request = replace(self.request, policy=SLMAlone())
        self.state = array("f")
        self.side, self.pinned, self.degraded, self.span = Side.SLM, True, True, None
        self.discarded.clear()

    def length(self, side: Side) -> int:
        """Tokens that the side has to know: its prompt and the answer so far."""
        return len(self.request.prompts[side]) + len(self.tokens)

    def unseen(self, side: Side, cached: int, limit: int) -> list[int]:
        """At most `limit` of the tokens that the side has not cached, in order."""
        prompt = self.request.prompts[side]
        ids = list(prompt[cached : cached + limit]) if cached < len(prompt) else []
        if len(ids) < limit:
            at = max(0, cached - len(prompt))
            end = at + limit - len(ids)
            new = self.tokens[at:end]
            if self.translation is not None:
                new = self.translation.read_all(side, new, self.sides[at:end])
            ids += new
        return ids

    def used(self, side: Side) -> Counter[int]:
        """How often the answer so far has each token, as that side's ids."""
        seen, counts = self.uses.get(side, (0, Counter[int]()))
        new = len(self.tokens) - seen
        if new:
            counts.update(self.unseen(side, len(self.request.prompts[side]) + seen, new))
            self.uses[side] = len(self.tokens), counts
        return counts

    def record(self, proposal: Proposal) -> None:
        """Take over what the policy decided about one proposal."""
        if proposal.keep:
            self.tokens.append(proposal.token)
            self.sides.append(proposal.side)
            self.discarded.clear()
        else:
            self._discard(proposal)
            self.counts["discards"] += 1
        if proposal.next_side != proposal.side:
            self.counts["handoffs"] += 1
        self.side = proposal.next_side

    def commit(self, proposal: Proposal, ends: frozenset[int]) -> str:
        """`record` it, and return the text that it completed; `finish` is set where it is the last.

        ends: ids of the proposal's side that end a text. Raises BadPair for a kept token that the
        other side cannot read.
        """
        self.record(proposal)
        if not proposal.keep:
            return ""
        token, text = proposal.token, ""
        read: int | None = token
        if self.translation is not None:
            read = self.translation.read(self.reader, token, proposal.side)
        ended = read in self.request.stop_token_ids
        ended |= token in ends and not self.request.ignore_eos
        if self.text and not ended and read is not None:
            text = self.text.push(read)
            ended = self.text.stopped is not None
        if ended:
            self.finish = "stop"
        elif len(self.tokens) >= self.most:
            self.finish = "length"
        elif self.translation is not None and not self.pinned:
            self.translation.check(proposal.side, token)
        return text

    def finished(self, reason: FinishReason, now: float) -> Finished:
        """The event of its end, with the text that was held back."""
        tail = self.text.finish() if self.text else ""
        return Finished(self.id, reason, self.usage(now), tail, tuple(self.forwards))

    def blame(self, call: str, error: Exception) -> None:
        """Its policy's code has raised this."""
        if isinstance(error, BadPolicy):
            self.broken = error
            return
        told = f"{call} raised {type(error).__name__}: {error}"
        self.broken = BadPolicy(f"policy {self.request.policy.name!r}: {told}")
        self.broken.__cause__ = error

    def _discard(self, proposal: Proposal) -> None:
        """Raises BadPolicy for a discard from which the answer might never go on."""
        name, side = self.request.policy.name, proposal.side
        if proposal.next_side is side:
            raise BadPolicy(
                f"policy {name!r} discarded a token of the {side.name} and asks it again"
            )
        if proposal.back or side in self.discarded:
            raise BadPolicy(
                f"policy {name!r} discarded what the {side.name} wrote at position "
                f"{proposal.position}, where it had to be kept"
            )
        self.discarded.add(side)

    def cut(self, n: int) -> None:
        """Take back all but the first n tokens."""
        self.counts["rewound"] += len(self.tokens) - n
        del self.tokens[n:], self.sides[n:]
        self.thought = None
        self.uses.clear()

    def feed(self, side: Side, cached: int, limit: int) -> list[int]:
        """`unseen`, for good: `catchup` counts the answer's tokens among them that the side had not
        written."""
        if limit == 1 and cached == self.length(side) - 1 and self.sides and self.sides[-1] is side:
            return self.tokens[-1:]  # nearly always: it wrote the last token itself
        tokens = self.unseen(side, cached, limit)
        self.caught_up(side, cached, len(tokens))
        return tokens

    def caught_up(self, side: Side, cached: int, count: int) -> None:
        """The side has read so many tokens after those cached: `catchup` counts the other's."""
        prompt = len(self.request.prompts[side])
        read = self.sides[max(0, cached - prompt) : max(0, cached + count - prompt)]
        foreign = len(read) - read.count(side)
        if foreign:
            self.counts["catchup"] += foreign

    def usage(self, now: float) -> Usage:
        llm = self.sides.count(Side.LLM)
        return Usage(
            prompt_tokens=max(len(prompt) for prompt in self.request.prompts.values()),
            slm_tokens=len(self.sides) - llm,
            llm_tokens=llm,
            discards=self.counts["discards"],
            handoffs=self.counts["handoffs"],
            catchup_tokens=self.counts["catchup"],
            rewound_tokens=self.counts["rewound"],
            degraded=self.degraded,
            seconds=now - self.accepted,
            slm_cached_tokens=self._found(Side.SLM),
            llm_cached_tokens=self._found(Side.LLM),
        )

    def _found(self, side: Side) -> int:
        """Tokens that were cached before the side's first pass."""
        first = next((f for f in self.forwards if f.side is side), None)
        return 0 if first is None else first.context - first.new_tokens

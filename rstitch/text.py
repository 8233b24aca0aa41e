"""From token ids to the text a user sees.

Two models append to one sequence, but a reader gets one stream of text. Three things make that
harder than a lookup per token: a character may span several tokens, a stop string may span several
tokens, and a reasoning model's thoughts must be told apart from its answer. Each is solved here
once, for the command line, the server and the graders alike, by objects that own only what they
hold back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

_PENDING = "\ufffd"  # what decoders write for bytes that are not, or not yet, a character
_LONGEST_PENDING = 3  # a UTF-8 character has at most four bytes, so at most three are waiting
_WINDOW = 16  # ids decoded together before the window is cut
_RESYNC = 4  # ids kept by a cut in undecodable bytes: the pending character and one more
_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


class Tokenizer(Protocol):
    """What this module needs of a tokenizer. `decode` must not tidy up spaces after the fact."""

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str: ...


class ByteLevel:
    """A tokenizer whose text is its ids' bytes one after the other, as byte-level BPE's is. So what
    is whole characters by itself is so everywhere, and is looked up instead of decoded."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[tuple[int, bool], str | None] = {}

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def piece(self, token_id: int, skip_special_tokens: bool) -> str | None:
        """None for a part of a character."""
        key = token_id, skip_special_tokens
        if key not in self._pieces:
            text = self.decode([token_id], skip_special_tokens=skip_special_tokens)
            self._pieces[key] = None if _PENDING in text else text
        return self._pieces[key]


@dataclass(slots=True)
class Detokenizer:
    """Text of a growing id sequence, released once no later id can change it.

    Decodes a short window again for every id, since the text of an id may depend on those before
    it: SentencePiece drops the space that begins a text, byte-level BPE splits characters. The
    window is cut where no character is pending, so its own start is as clean as that of the text.
    """

    tokenizer: Tokenizer
    skip_special_tokens: bool = True
    _ids: list[int] = field(default_factory=list, init=False)
    _text: str = field(default="", init=False)
    """The decoded window."""
    _shown: int = field(default=0, init=False)
    """Characters of the window that have been released."""
    _clean: int = field(default=0, init=False)
    """Ids of the window up to the last moment at which no character was pending."""

    def push(self, token_id: int) -> str:
        if not self._ids and isinstance(self.tokenizer, ByteLevel):
            piece = self.tokenizer.piece(token_id, self.skip_special_tokens)
            if piece is not None:
                return piece
        self._ids.append(token_id)
        text = self._decode(self._ids)
        if text and text == self._text and not self._decode([token_id]):
            self._ids.pop()  # a skipped special token: it is nobody's context
            return ""
        self._text = text
        settled = len(text.rstrip(_PENDING))
        clean = settled == len(text)
        stuck = not clean and len(self._ids) - self._clean > _LONGEST_PENDING
        if stuck:  # not one slow character: only the last mark can still change
            settled = len(text) - 1
        new = text[self._shown : settled]
        self._shown = max(self._shown, settled)
        if len(self._ids) >= _WINDOW and (clean or stuck):
            self._cut(self._clean if clean else len(self._ids) - _RESYNC)
        if clean:
            self._clean = len(self._ids)
            if isinstance(self.tokenizer, ByteLevel):
                self.finish()  # nothing waits, and no id needs what came before it
        return new

    def finish(self) -> str:
        """The rest, incomplete characters included. The text ends here."""
        rest = self._text[self._shown :]
        self._ids, self._text, self._shown, self._clean = [], "", 0, 0
        return rest

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=self.skip_special_tokens)

    def _cut(self, count: int) -> None:
        held = len(self._text) - self._shown
        del self._ids[:count]
        self._text = self._decode(self._ids)
        self._shown = max(0, len(self._text) - held)
        self._clean = max(0, self._clean - count)


@dataclass(slots=True)
class StopScanner:
    """Passes text on until a stop string is complete, however the text is cut into pieces.

    The match that ends first wins; of several that end together, the one that starts first.
    """

    stop: tuple[str, ...]
    include_stop: bool = False
    stopped: str | None = field(default=None, init=False)
    """The stop string that ended the text."""
    _held: str = field(default="", init=False)
    """The end of the text so far, where it may be the beginning of a stop string."""

    def __post_init__(self) -> None:
        for i, stop in enumerate(self.stop):
            if not stop:
                raise ValueError(f"stop[{i}] is empty: a stop string needs at least one character")

    def push(self, text: str) -> str:
        if self.stopped is not None or not text:
            return ""
        if not self.stop:
            return text
        text = self._held + text
        found = [(at + len(s), at, s) for s in self.stop if (at := text.find(s)) >= 0]
        if found:
            end, start, self.stopped = min(found)
            self._held = ""
            return text[: end if self.include_stop else start]
        keep = len(text) - self._undecided(text)
        self._held = text[keep:]
        return text[:keep]

    def finish(self) -> str:
        rest, self._held = self._held, ""
        return rest

    def _undecided(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max(map(len, self.stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self.stop):
                return size
        return 0


class TextStream:
    """The text of one answer, id by id. Joined pushes and `finish` are the decoded whole, up to
    the first stop string; once `stopped` is set there is no more text."""

    __slots__ = ("_detokenizer", "_scanner")

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: str | Sequence[str] = (),
        *,
        skip_special_tokens: bool = True,
        include_stop: bool = False,
    ) -> None:
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        self._detokenizer = Detokenizer(tokenizer, skip_special_tokens)
        self._scanner = StopScanner(stops, include_stop)

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the text."""
        return self._scanner.stopped

    def push(self, token_id: int) -> str:
        scanner = self._scanner
        if scanner.stopped is not None:
            return ""
        return scanner.push(self._detokenizer.push(token_id))

    def copy(self) -> TextStream:
        """Another stream in the same state, to go back to."""
        twin = copy(self)
        twin._detokenizer, twin._scanner = copy(self._detokenizer), copy(self._scanner)
        twin._detokenizer._ids = list(self._detokenizer._ids)
        return twin

    def finish(self) -> str:
        return self._scanner.push(self._detokenizer.finish()) + self._scanner.finish()


class Phase(StrEnum):
    REASONING = "reasoning"
    ANSWER = "answer"


@dataclass(slots=True)
class PhaseTracker:
    """Which phase each token belongs to. Both marks belong to the reasoning they enclose."""

    open_id: int
    close_id: int
    phase: Phase = Phase.ANSWER
    """Phase of the next token, unless that is an opening mark; REASONING at first where the prompt
    has opened the block."""

    def push(self, token_id: int) -> Phase:
        if token_id == self.open_id:
            self.phase = Phase.REASONING
        current = self.phase
        if token_id == self.close_id:
            self.phase = Phase.ANSWER
        return current


@dataclass(frozen=True, slots=True)
class Reasoned:
    reasoning: str | None
    """None without any block, "" for an empty one."""
    answer: str


def split_reasoning(
    text: str, open: str = "<think>", close: str = "</think>", *, started_inside: bool = False
) -> Reasoned:
    """Split as `PhaseTracker` does, marks and nothing else removed. An unclosed block is reasoning
    to the end; several blocks are joined. `started_inside` says that the prompt opened the block;
    a model that opens it again is forgiven."""
    reasoning: list[str] = []
    answer: list[str] = []
    inside, found, rest = started_inside, True, text
    if started_inside:
        rest = rest.removeprefix(open)
    while found:
        head, mark, rest = rest.partition(close if inside else open)
        (reasoning if inside else answer).append(head)
        inside, found = not inside, bool(mark)
    return Reasoned("".join(reasoning) if reasoning else None, "".join(answer))


@dataclass(slots=True)
class ReasoningStream:
    """`split_reasoning` for text that comes in pieces: joined, the parts of a phase are the same.

    Holds back what may be the beginning of a mark.
    """

    phase: Phase = Phase.ANSWER
    """REASONING at first where the prompt has opened the block."""
    include_marks: bool = False
    """Pass the marks on too, as reasoning."""
    open: str = "<think>"
    close: str = "</think>"
    _held: str = field(default="", init=False)
    _begins: bool = field(default=True, init=False)
    """No text is decided yet."""

    def push(self, text: str) -> list[tuple[Phase, str]]:
        if not (self._held or self._begins) and self._mark[0] not in text:  # most pieces
            return [(self.phase, text)] if text else []
        text = self._held + text
        if self._begins and self.phase is Phase.REASONING and not self.include_marks:
            if self.open.startswith(text) and text != self.open:
                self._held = text
                return []
            text = text.removeprefix(self.open)
        self._begins = False
        parts: list[tuple[Phase, str]] = []
        while self._mark in text:
            head, mark, text = text.partition(self._mark)
            parts += [(self.phase, head), (Phase.REASONING, mark * self.include_marks)]
            inside = self.phase is Phase.REASONING
            self.phase = Phase.ANSWER if inside else Phase.REASONING
        size = max(n for n in range(len(self._mark)) if text.endswith(self._mark[:n]))
        self._held = text[len(text) - size :]
        parts.append((self.phase, text[: len(text) - size]))
        return [(phase, part) for phase, part in parts if part]

    def finish(self) -> list[tuple[Phase, str]]:
        """What was held back. The text ends here."""
        rest, self._held = self._held, ""
        return [(self.phase, rest)] if rest else []

    @property
    def _mark(self) -> str:
        """What ends the phase."""
        return self.close if self.phase is Phase.REASONING else self.open


def boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{...}`; None where there is none or it is left unclosed."""
    start = max((box.end() for box in _BOX.finditer(text)), default=None)
    if start is None:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)  # anything else is an escaped character
        if depth == 0:
            return text[start : brace.start()]
    return None

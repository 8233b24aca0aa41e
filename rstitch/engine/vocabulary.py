"""Two tokenizers side by side: whether they are of one family, and which ids mean the same.

Models of one family share their base vocabulary and merges, so text has the same ids on both sides.
Their special tokens need not agree: what DeepSeek-R1's distilled models call end of text has
another name, and `<think>` another id, in Qwen's. Those are matched by name, then by role.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rstitch.engine.declared import made_up
from rstitch.errors import BadPair
from rstitch.types import Side

END, THINK_OPEN, THINK_CLOSE = ROLES = ("end", "think_open", "think_close")
MARKS = {THINK_OPEN: "<think>", THINK_CLOSE: "</think>"}
"""What the tokens of a role are called where nobody says otherwise."""
NAMED = 10
"""Differences that a refusal names."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One side's tokens. Added tokens are those put on top of the trained vocabulary."""

    source: str
    base: Mapping[str, int]
    merges: Sequence[str]
    """Or the scored pieces of a unigram model; empty where the tokenizer has neither."""
    added: Mapping[str, int]
    ends: frozenset[int]
    """End-of-text ids."""
    roles: Mapping[str, str]
    """Role to the added token that plays it, for the roles that this side has."""

    @property
    def size(self) -> int:
        """Tokens, and one more than the largest id, since `read` lets no id be left out."""
        return len(self.base) + len(self.added)

    def find(self, token: str) -> int | None:
        return self.added.get(token, self.base.get(token))

    def playing(self, role: str) -> int | None:
        """The id of the token in that role."""
        return self.added.get(self.roles[role]) if role in self.roles else None


def read(
    source: str,
    tokenizer: Any,
    ends: frozenset[int],
    roles: Mapping[str, str] | None = None,
    declared: frozenset[str] | None = None,
) -> Vocabulary:
    """A transformers tokenizer's vocabulary; `roles` overrides what the tokenizer itself says.

    `declared` are the tokens that its files name. Raises BadPair for a role or token that does not
    exist.
    """
    every, added = tokenizer.get_vocab(), dict(tokenizer.get_added_vocab())
    base = {token: i for token, i in every.items() if token not in added}
    ends -= {added.pop(token) for token in made_up(every, added, declared)}
    _check_whole(source, {*base.values(), *added.values()}, len(base) + len(added))
    found = {role: mark for role, mark in MARKS.items() if mark in added}
    names = {i: token for token, i in added.items()}
    own = tokenizer.eos_token if tokenizer.eos_token_id in ends else names.get(min(ends, default=0))
    if own is not None and own in added:
        found[END] = str(own)
    for role, token in (roles or {}).items():
        if role not in ROLES:
            raise BadPair(f"unknown role {role!r} of a special token; known: {', '.join(ROLES)}")
        if token not in added:
            raise BadPair(f"{source} has no special token {token!r} to be its {role}")
        found[role] = token
    if found.get(END) and roles and END in roles:
        ends |= {added[found[END]]}
    return Vocabulary(source, base, _merges(tokenizer), added, ends, found)


def _check_whole(source: str, ids: set[int], size: int) -> None:
    """Refuse ids with holes: the tokens are as many columns of the logits, from 0 on, and where one
    is nobody's, the last token, often an end of text, would be cut off."""
    free = next((i for i in range(size) if i not in ids), None)
    if free is not None:
        raise BadPair(
            f"the tokenizer of {source} has {size} tokens and ids up to {max(ids)}, but none with "
            f"id {free}; name a token for every id in a copy of its tokenizer.json, or choose "
            "another model"
        )


def _merges(tokenizer: Any) -> list[str]:
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return []
    model = json.loads(core.to_str())["model"]
    pieces = model["vocab"] if isinstance(model.get("vocab"), list) else []  # unigram
    return [_joined(rule) for rule in model.get("merges") or pieces]


def _joined(rule: str | Sequence[Any]) -> str:
    return rule if isinstance(rule, str) else " ".join(map(str, rule))


def check_family(slm: Vocabulary, llm: Vocabulary) -> None:
    """Raise BadPair unless base vocabulary and merges are equal; ten differences are named."""
    ours, theirs = (_trained(side, slm.added.keys() | llm.added.keys()) for side in (slm, llm))
    if ours == theirs and slm.merges == llm.merges:
        return
    what = "tokens"
    different = [t for t in sorted(ours.keys() | theirs.keys()) if ours.get(t) != theirs.get(t)]
    named = [f"{t!r}: {ours.get(t)} and {theirs.get(t)}" for t in different[:NAMED]]
    if not different and slm.merges != llm.merges:
        what = "merges"
        pairs = enumerate(zip_longest(slm.merges, llm.merges))
        differing = [(i, a, b) for i, (a, b) in pairs if a != b]
        different = [str(i) for i, *_ in differing]
        named = [f"number {i}: {a!r} and {b!r}" for i, a, b in differing[:NAMED]]
    if different:
        raise BadPair(
            f"{slm.source} and {llm.source} do not share a vocabulary: {len(different)} {what} "
            f"differ ({', '.join(named)}); choose an SLM of the LLM's own tokenizer family"
        )


def _trained(side: Vocabulary, added: Iterable[str]) -> Mapping[str, int]:
    """The base vocabulary without what is an added token on either side."""
    either = set(added)
    if not either & side.base.keys():
        return side.base
    return {token: i for token, i in side.base.items() if token not in either}


def ends(own: Vocabulary, other: Vocabulary) -> frozenset[int]:
    """Ids that end a text written by `own`: its own, and those of the same name on the other."""
    theirs = (token for token, i in other.added.items() if i in other.ends)
    return own.ends | {i for token in theirs if (i := own.find(token)) is not None}


@dataclass(frozen=True, slots=True)
class Translation:
    """Ids of one side as the other side's, for the ids that are not the same on both."""

    moved: Mapping[Side, Mapping[int, int]]
    """Under the side that wrote the id: its id on the other side."""
    lost: Mapping[Side, Mapping[int, str]]
    """Under the side that wrote the id: the names of tokens without a partner."""
    sources: Mapping[Side, str]

    def read(self, reader: Side, token: int, writer: Side) -> int | None:
        """The reader's id for a token of the writer; None without a partner."""
        if reader == writer:
            return token
        if token in self.lost[writer]:
            return None
        return self.moved[writer].get(token, token)

    def read_all(self, reader: Side, tokens: Sequence[int], writers: Sequence[Side]) -> list[int]:
        """The same for many tokens, each of which has a partner."""
        moved = self.moved[reader.other]
        pairs = zip(tokens, writers, strict=True)
        return [token if side == reader else moved.get(token, token) for token, side in pairs]

    def check(self, writer: Side, token: int) -> None:
        """Raise BadPair for a token that the other side cannot read."""
        if token not in self.lost[writer]:
            return
        raise BadPair(
            f"{self.sources[writer]} wrote {self.lost[writer][token]!r}, for which "
            f"{self.sources[writer.other]} has no token; name a partner in a pair file, or choose "
            "models with the same special tokens"
        )


def translation(slm: Vocabulary, llm: Vocabulary) -> Translation | None:
    """Between two vocabularies of one family; None where every id is the same on both sides."""
    tables = {Side.SLM: _table(slm, llm), Side.LLM: _table(llm, slm)}
    if not any(moved or lost for moved, lost in tables.values()):
        return None
    return Translation(
        moved={side: moved for side, (moved, _) in tables.items()},
        lost={side: lost for side, (_, lost) in tables.items()},
        sources={Side.SLM: slm.source, Side.LLM: llm.source},
    )


def _table(writer: Vocabulary, reader: Vocabulary) -> tuple[dict[int, int], dict[int, str]]:
    """Ids of the writer that the reader has under another id, and those that it does not have."""
    moved: dict[int, int] = {}
    lost: dict[int, str] = {}
    for token in writer.added.keys() | (reader.added.keys() & writer.base.keys()):
        written = writer.find(token)
        assert written is not None
        partner = _partner(token, written, writer, reader)
        if partner is None:
            lost[written] = token
        elif partner != written:
            moved[written] = partner
    return moved, lost


def _partner(token: str, written: int, writer: Vocabulary, reader: Vocabulary) -> int | None:
    """The token of the same name, else the one in the same role."""
    partner = reader.find(token)
    if partner is not None:
        return partner
    if written in writer.ends:
        return reader.playing(END)
    playing = (role for role in (THINK_OPEN, THINK_CLOSE) if writer.roles.get(role) == token)
    return next((reader.playing(role) for role in playing), None)

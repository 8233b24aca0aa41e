"""The answers that a page shows token by token, those that stitching made worse first.

They are packed column by column, since a page is to stay small enough to send around.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rstitch.report.answers import task_of
from rstitch.report.claim import claims
from rstitch.report.decoded import Decoder
from rstitch.report.loaded import Cell, Loaded, whole

BYTES = 8 * 2**20
"""All answers of a section; one that does not fit beside those before it is left out."""
KEPT, DISCARDED, TAKEN_BACK = "1", "0", "2"
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer that is worth a look."""

    cell: Cell
    ours: Record
    theirs: Record | None
    """The LLM alone, on the same problem and sample."""
    many: bool
    """Many were in flight."""

    @property
    def kind(self) -> str:
        if self.theirs is not None and self.theirs["right"] and not self.ours["right"]:
            return "regression"
        if self.theirs is None and not self.ours["right"]:
            return "wrong"
        if (self.slowdown or 0.0) > 1.0:
            return "slower"
        if self.theirs is not None and self.ours["right"] and not self.theirs["right"]:
            return "gain"
        return "as good"

    @property
    def slowdown(self) -> float | None:
        """Our seconds over theirs; tokens where many were in flight, which have no latency."""
        if self.theirs is None or "failed" in (self.ours["reason"], self.theirs["reason"]):
            return None
        if self.many:
            return float(self.ours["tokens"] / max(self.theirs["tokens"], 1))
        return float(median(self.ours["seconds"]) / max(median(self.theirs["seconds"]), 1e-9))

    @property
    def order(self) -> tuple[bool, float]:
        """Worst first."""
        return self.kind not in ("regression", "wrong"), -(self.slowdown or 0.0)


def choices(run: Loaded) -> list[Choice]:
    """Of the methods that the section's claims are about, worst first."""
    answers = {
        (one["method"], one["problem"], one["sample"]): one
        for one in run.records
        if one["type"] == "answer"
    }
    labels = {claim.method for claim in claims(run.config, run.table)} or {run.asked["reference"]}
    base, many = run.table.baseline, run.table.in_flight > 1
    found = [
        Choice(cell, one, answers.get((base, cell[1], cell[2])) if base else None, many)
        for cell, one in answers.items()
        if cell[0] in labels and cell[0] != base
    ]
    return sorted(found, key=lambda one: (*one.order, one.cell))


@dataclass(frozen=True, slots=True)
class Traces:
    """What the page gets."""

    entries: Sequence[Mapping[str, Any]]
    of: int
    """Answers that there are."""
    left_out: int
    """Of those that were to be shown, for their size."""
    vocabulary: Mapping[str, int]
    """Tokens of each side, for nats; empty where the tokenizers are not here."""


def traces(run: Loaded, most: int) -> Traces:
    """At most so many, and BYTES of them."""
    found = choices(run)
    chosen = {one.cell: one for one in found[:most]}
    decoder, questions = Decoder.of(run.config), _questions(run)
    packed: dict[Cell, Mapping[str, Any]] = {}
    for path in run.paths:
        for record in whole(path, chosen):
            cell = record["method"], record["problem"], record["sample"]
            packed[cell] = entry(chosen[cell], record, decoder, questions.get(cell[1]))
    kept, size, left_out = [], 0, 0
    for one in (packed[cell] for cell in chosen if cell in packed):
        more = len(json.dumps(one))
        if size + more > BYTES:
            left_out += 1
            continue
        size += more
        kept.append(one)
    return Traces(kept, len(found), left_out, decoder.vocabulary if decoder else {})


def _questions(run: Loaded) -> dict[str, tuple[str, str]]:
    """Text and gold answer by problem, of tasks that can be made without a network."""
    if "path" not in run.asked["task"] and run.asked["task"]["name"] not in LOCAL:
        return {}
    made = task_of(run.asked)
    return {one.id: (one.text, one.answer) for one in made[1]} if made else {}


LOCAL = ("dev", "test", "ood-kind", "ood-depth", "ood-wording")


def entry(
    choice: Choice, record: Record, decoder: Decoder | None, question: tuple[str, str] | None
) -> dict[str, Any]:
    theirs = choice.theirs
    return {
        "method": record["method"],
        "problem": record["problem"],
        "sample": record["sample"],
        "group": record["group"],
        "kind": choice.kind,
        "times": None if choice.slowdown is None else float(f"{choice.slowdown:.3g}"),
        "unit": "tokens" if choice.many else "time",
        "question": question[0] if question else None,
        "gold": question[1] if question else None,
        "ours": {**_told(record), **_pieces(record, decoder)},
        "llm": None if theirs is None else {**_told(theirs), "text": theirs["text"]},
    }


def _told(record: Record) -> dict[str, Any]:
    return {
        "right": record["right"],
        "reason": record["reason"],
        "seconds": float(f"{median(record['seconds']):.4g}"),
        "tokens": record["tokens"],
        "llm_tokens": record["llm_tokens"],
        "handoffs": record["handoffs"],
    }


def _pieces(record: Record, decoder: Decoder | None) -> dict[str, Any]:
    """Columns: texts, sides, what became of each, entropies, log-probabilities."""
    rows = [row for trace in record.get("traces", []) for row in _rows(trace, decoder)]
    if not rows:
        return {"text": record["text"]}
    texts, sides, kept, entropies, logprobs = zip(*rows, strict=True)
    found = {"t": list(texts), "s": "".join(sides), "k": "".join(kept)}
    if any(one is not None for one in entropies):
        found |= {"h": list(entropies), "p": list(logprobs)}
    return found


Row = tuple[str, str, str, float | None, float | None]


def _rows(trace: Record, decoder: Decoder | None) -> Iterator[Row]:
    if "proposals" not in trace:
        yield from _beside(trace, decoder)
        return
    columns, n = trace["proposals"], len(trace["texts"])
    back = columns.get("taken_back", [False] * n)
    for i, text in enumerate(trace["texts"]):
        keep = KEPT if columns["keep"][i] else TAKEN_BACK if back[i] else DISCARDED
        side, token = int(columns["side"][i]), columns["token"][i]
        if keep != KEPT and not text:
            text = decoder.text(side, token) if decoder else f"[{token}]"
        entropy, logprob = columns["entropy"][i], columns["logprob"][i]
        yield text, str(side), keep, float(f"{entropy:.4g}"), float(f"{logprob:.3g}")


def _beside(trace: Record, decoder: Decoder | None) -> Iterator[Row]:
    """Of what was written beside the engine: no entropies, and texts only with a tokenizer."""
    if decoder is None:
        return
    for side, token in zip(trace["sides"], trace["tokens"], strict=False):
        yield decoder.text(1, token), side, KEPT, None, None

"""Traces: everything about how an answer came to be, as JSON lines.

One answer is an `answer` line (what was asked, of whom, under which rule), a `token` line per
proposal, kept or discarded, a `forward` line per forward pass, and an `end` line. Lines carry the
answer's id, so several answers may share a file. Entropies are float32 values written in full, so
that a decision at the threshold can be checked from the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rstitch import __version__
from rstitch.errors import BadRequest, BadTrace
from rstitch.types import Event, Failed, Forward, Proposal, Sampling, Side, Token

VERSION = 1
REWINDING = ("span", "back", "taken_back")
"""Fields of a proposal that are left out of the file where nothing was scored or taken back."""


@dataclass(slots=True)
class Trace:
    """One answer. `texts[i]` is the text that proposal i completed."""

    id: str
    policy: dict[str, Any]
    """Name and parameters (`Policy.spec`)."""
    sampling: Sampling
    """With the seed that was used."""
    prompts: dict[Side, tuple[int, ...]]
    models: dict[str, str] = field(default_factory=dict)
    """Source of each side."""
    proposals: list[Proposal] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    """Finish reason and usage; empty if the answer was interrupted."""
    meta: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Write down what happened next."""
        if isinstance(event, Token):
            self.proposals.append(event.proposal)
            self.texts.append(event.text)
            return
        self.forwards.extend(event.forwards)
        if isinstance(event, Failed):
            return
        if event.text:
            kept = [i for i, proposal in enumerate(self.proposals) if proposal.keep]
            self.texts[kept[-1]] += event.text
        self.end = {"reason": event.reason, "usage": event.usage.as_dict()}

    def lines(self) -> Iterator[dict[str, Any]]:
        """The trace as JSON-ready records, in file order."""
        yield {
            "type": "answer",
            "version": VERSION,
            "rstitch": __version__,
            "id": self.id,
            "models": self.models,
            "policy": self.policy,
            "sampling": self.sampling.as_dict(),
            "prompts": {side.label: list(ids) for side, ids in self.prompts.items()},
            "meta": self.meta,
        }
        for proposal, text in zip(self.proposals, self.texts, strict=True):
            record = {**asdict(proposal), "side": proposal.side.label, "text": text}
            record = {key: v for key, v in record.items() if v or key not in REWINDING}
            yield {"type": "token", "id": self.id, **record, "next_side": proposal.next_side.label}
        for forward in self.forwards:
            yield {"type": "forward", "id": self.id, **asdict(forward), "side": forward.side.label}
        if self.end:
            yield {"type": "end", "id": self.id, **self.end}


def write(traces: Iterable[Trace], file: TextIO) -> None:
    for trace in traces:
        for line in trace.lines():
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()


def read(path: Path) -> list[Trace]:
    """The traces of a file, in order. Raises BadTrace naming the line that cannot be used.

    A last line cut off in the middle (a killed process) is left out.
    """
    try:
        *lines, torn = path.read_bytes().split(b"\n")  # not splitlines: texts hold U+2028 and such
    except OSError as error:
        raise BadTrace(f"cannot read {path}: {error.strerror}") from error
    if _is_json(torn):  # whole, only its line feed is missing
        lines.append(torn)
    found: list[Trace] = []
    latest: dict[str, Trace] = {}
    for number, line in enumerate(lines, 1):
        try:
            trace = _take(latest, json.loads(line))
        except (ValueError, LookupError, TypeError, AttributeError, BadRequest) as error:
            raise BadTrace(f"{path}, line {number}: not a trace record ({error!r})") from error
        if trace is not None:
            found.append(trace)
    if not found:
        raise BadTrace(f"{path} holds no trace")
    return found


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _take(latest: dict[str, Trace], record: dict[str, Any]) -> Trace | None:
    """Add a record to the latest answer of its id; a record that begins an answer returns it."""
    kind = record.pop("type")
    if kind == "answer":
        trace = latest[record["id"]] = _begin(record)
        return trace
    trace = latest[record.pop("id")]
    if kind == "token":
        text = record.pop("text")
        trace.proposals.append(_proposal(record))
        trace.texts.append(text)
    elif kind == "forward":
        trace.forwards.append(_forward(record))
    elif kind == "end":
        trace.end = record
    else:
        raise ValueError(f"unknown record type {kind!r}")
    return None


def _begin(record: dict[str, Any]) -> Trace:
    if record["version"] != VERSION:
        raise ValueError(f"version {record['version']}, this rstitch reads {VERSION}")
    return Trace(
        id=record["id"],
        policy=record["policy"],
        sampling=Sampling.of(record["sampling"]),
        prompts={Side[k.upper()]: tuple(ids) for k, ids in record["prompts"].items()},
        models=record["models"],
        meta=record["meta"],
    )


def _forward(record: dict[str, Any]) -> Forward:
    for count in ("rows", "new_tokens", "context", "batch_tokens"):
        if type(record[count]) is not int:
            raise ValueError(f"{count} is {record[count]!r}; it must be a whole number")
    changed = {"side": Side[record["side"].upper()], "seconds": float(record["seconds"])}
    return Forward(**{**record, **changed})


def _proposal(record: dict[str, Any]) -> Proposal:
    """Numbers are made sure of, since `explain` computes with them."""
    for flag in ("keep", "taken_back"):
        if not isinstance(record.get(flag, False), bool):
            raise ValueError(f"{flag} is {record[flag]!r}; it must be true or false")
    changed = {
        **{key: Side[record[key].upper()] for key in ("side", "next_side")},
        **{key: float(record[key]) for key in ("entropy", "logprob")},
        "signals": {name: float(value) for name, value in record["signals"].items()},
        "top_logprobs": tuple((int(i), float(p)) for i, p in record["top_logprobs"]),
        "span": tuple(float(value) for value in record.get("span", ())),
        "back": int(record.get("back", 0)),
    }
    return Proposal(**{**record, **changed})

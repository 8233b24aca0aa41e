"""A run's records held against their own traces and their task: what is said twice has to agree.

No model is run. An edited token, side, count, second, text or verdict shows here even where its
hash was edited too, as far as something else in the run depends on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstitch import explain
from rstitch.errors import BadTrace, RStitchError
from rstitch.evals import directory
from rstitch.evals.packed import unpack
from rstitch.evals.verify import Verifier
from rstitch.policy.registry import is_known
from rstitch.report.answers import Answers
from rstitch.report.decoded import Decoder
from rstitch.report.loaded import Tell, silent
from rstitch.trace import Trace
from rstitch.types import Side

COUNTS = ("slm_tokens", "llm_tokens", "discards", "handoffs", "catchup_tokens", "rewound_tokens")
SLACK = 1e-3
"""Seconds that two clocks may differ by."""


@dataclass
class Found:
    """What came of it."""

    differences: list[str] = field(default_factory=list)
    """Each a line that begins with where it is."""
    notes: dict[str, int] = field(default_factory=dict)
    """What had to be taken on trust, and how often."""
    records: int = 0
    traces: int = 0

    def trust(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1


def recheck(path: Path, config: Mapping[str, Any], tell: Tell = silent) -> Found:
    """Every answer of a run. Raises BadRun for a broken line."""
    found, asked = Found(), config["asked"]
    due = asked["problems"] * asked["samples"] * len(config["methods"])
    with Verifier() as verifier:
        answers = Answers.of(asked, verifier)
        if answers is None:
            found.trust("right or wrong: the task cannot be made again here")
        decoder = Decoder.of(config)
        for one in directory.read_records(path):
            if one["type"] != "answer":
                continue
            tell("checking", found.records, due)
            found.records += 1
            where = f"{one['method']}, {one['problem']}, sample {one['sample']}"
            for line in _wrong(one, config, answers, decoder, found):
                found.differences.append(f"{where}: {line}")
    tell("checking", due, due)
    return found


def _wrong(
    one: Mapping[str, Any],
    config: Mapping[str, Any],
    answers: Answers | None,
    decoder: Decoder | None,
    found: Found,
) -> Iterator[str]:
    """Of one record."""
    if answers is not None:
        yield from answers.wrong(one)
    yield from _seconds(one, config["asked"])
    total = one["slm_tokens"] + one["llm_tokens"] + one["lost_tokens"]
    if one["tokens"] != total:
        yield f"tokens is {one['tokens']}, its parts make {total}"
    traces = one.get("traces", [])
    found.traces += len(traces)
    if not traces:
        found.trust("tokens and decisions: answers without a trace")
    elif "proposals" in traces[0]:
        yield from _engine(one, config, decoder, found)
    else:
        yield from _own(one, traces[0])


def _seconds(one: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    seconds = one["seconds"]
    if len(seconds) != asked["repeats"]:
        yield f"seconds has {len(seconds)} repeats, the run has {asked['repeats']}"
    if not all(isinstance(s, int | float) and 0 < s < math.inf for s in seconds):
        yield f"seconds is {seconds}; each must be positive"


# -- written by the engine ------------------------------------------------------------------------


def _engine(
    one: Mapping[str, Any], config: Mapping[str, Any], decoder: Decoder | None, found: Found
) -> Iterator[str]:
    traces = []
    for number, packed in enumerate(one["traces"]):
        try:
            trace = unpack(packed)
        except (LookupError, TypeError, ValueError, AttributeError, RStitchError) as error:
            yield f"trace {number} cannot be read ({error!r})"
            return
        traces.append(trace)
        yield from _explained(number, trace, found)
        if decoder is not None:
            yield from decoder.wrong(number, trace)
    usages = [trace.end.get("usage", {}) for trace in traces]
    for name in COUNTS:
        due = sum(usage.get(name, 0) for usage in usages)
        if one[name] != due:
            yield f"{name} is {one[name]}, its traces make {due}"
    yield from _asked_for(one, config, traces)
    if len(traces) == 1:
        yield from _alone(one, config["asked"], traces[0])


def _explained(number: int, trace: Trace, found: Found) -> Iterator[str]:
    try:
        difference = explain.check(trace)
    except BadTrace as error:
        if is_known(trace.policy.get("name", "")):
            yield f"trace {number}: {error}"
        else:
            found.trust(f"decisions of {trace.policy.get('name')}: its policy is a file's")
        return
    if difference is not None:
        yield f"trace {number}: {difference.where} {difference.what}"


def _asked_for(
    one: Mapping[str, Any], config: Mapping[str, Any], traces: list[Trace]
) -> Iterator[str]:
    """The first trace is what the method asks for, with the seed of its problem and sample."""
    spec, first = config["methods"][one["method"]], traces[0]
    if spec["name"] == "stitched":
        spec = {"name": "entropy", "tau": spec["tau"]}
    if is_known(spec["name"]) and first.policy != spec:
        yield f"trace 0 is of policy {first.policy}, the method's is {spec}"
    due = seed(config["asked"]["seed"], one["problem"], one["sample"])
    if first.sampling.seed != due:
        yield f"trace 0 has seed {first.sampling.seed}, that of its problem and sample is {due}"


def seed(of_run: int, problem: str, sample: int) -> int:
    """As `Plan.question` draws it."""
    key = f"{of_run}/{problem}/{sample}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:7], "big")


def _alone(one: Mapping[str, Any], asked: Mapping[str, Any], trace: Trace) -> Iterator[str]:
    """Where one trace is the whole answer: its text, its end and its time are the record's."""
    written = "".join(text for p, text in zip(trace.proposals, trace.texts, strict=True) if p.keep)
    if not one["text"].startswith(written.rstrip("\ufffd")):
        yield "text is not what its trace wrote"
    if trace.end.get("reason") != one["reason"]:
        yield f"reason is {one['reason']}, its trace ended by {trace.end.get('reason')}"
    within = trace.end.get("usage", {}).get("seconds", 0.0)
    if asked["in_flight"] == 1:
        within = max(within, sum(one.seconds for one in trace.forwards))
    if one["seconds"][-1] + SLACK < within:
        yield f"seconds is {one['seconds'][-1]:.6g}, its trace took {within:.6g}"


# -- written beside the engine --------------------------------------------------------------------


def _own(one: Mapping[str, Any], trace: Mapping[str, Any]) -> Iterator[str]:
    """Tokens with their sides, and passes, of speculation, early exit and transformers."""
    try:
        sides, tokens = trace["sides"], trace["tokens"]
        passes = sum(float(forward[-1]) for forward in trace["forwards"])
    except (LookupError, TypeError, ValueError) as error:
        yield f"its trace cannot be read ({error!r})"
        return
    if len(sides) != len(tokens):
        yield f"its trace has {len(tokens)} tokens and {len(sides)} sides"
    for side in Side:
        due = sides.count(str(int(side)))
        if one[f"{side.label}_tokens"] != due:
            yield f"{side.label}_tokens is {one[f'{side.label}_tokens']}, its trace has {due}"
    if one["seconds"][-1] + SLACK < passes:
        yield f"seconds is {one['seconds'][-1]:.6g}, its passes took {passes:.6g}"

"""Answers that the engine wrote, held against their traces: the method is asked again, and given
what the traces say that it was given then. What it asks for, and what it makes of it, has to be
what the record says.

No model is run. Methods that are a file's code are not asked; what they did is told as on trust.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from rstitch import explain
from rstitch.errors import BadTrace, RStitchError
from rstitch.evals.methods.base import Ask, Method, Question, Written
from rstitch.evals.packed import unpack
from rstitch.policy.registry import is_known
from rstitch.report.decoded import PENDING, Decoder
from rstitch.report.found import Found
from rstitch.report.timed import Took, together
from rstitch.stream import Answer
from rstitch.trace import Trace
from rstitch.types import Side, Usage, sample_seed

COUNTS = ("slm_tokens", "llm_tokens", "discards", "handoffs", "catchup_tokens", "rewound_tokens")
Groups = Sequence[Sequence[Trace]]
"""Traces by what was asked for together."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a record is to agree with, beside its traces."""

    label: str
    spec: Mapping[str, Any]
    """The settled method."""
    method: Method | None
    """None where it is a file's, or another package's."""
    question: Question
    placed: bool
    """The question's place in the task is known."""
    one_by_one: bool


def wrong(
    one: Mapping[str, Any], due: Due, decoder: Decoder | None, found: Found
) -> Generator[str, None, Took | None]:
    """What the traces say against the record, and in the end how long they took."""
    traces = []
    for number, packed in enumerate(one["traces"]):
        try:
            trace = unpack(packed)
        except (LookupError, TypeError, ValueError, AttributeError, RStitchError) as error:
            yield f"trace {number} cannot be read ({error!r})"
            return None
        traces.append(trace)
        yield from _explained(number, trace, found)
    usages = [trace.end.get("usage", {}) for trace in traces]
    for name in COUNTS:
        total = sum(usage.get(name, 0) for usage in usages)
        if one[name] != total:
            yield f"{name} is {one[name]}, its traces make {total}"
    if one["lost_tokens"] and due.method is not None:
        yield f"lost_tokens is {one['lost_tokens']}; the engine writes none on trial"
    if due.method is None:
        groups = yield from _foreign(one, due, traces, found)
    else:
        groups = yield from _again(one, due, due.method, traces, decoder, found)
    if decoder is not None:
        for number, trace in enumerate(traces):
            yield from decoder.wrong(number, trace, due.spec["name"] == "opening" and number == 0)
    return _took(groups, due.one_by_one)


def _took(groups: Groups, one_by_one: bool) -> Took:
    total = Took(0.0, 0.0)
    for group in groups:
        total += together([_of(trace, one_by_one) for trace in group])
    return total


def _of(trace: Trace, one_by_one: bool) -> Took:
    """Among others a pass is not an answer's own."""
    passes = [(int(one.side), one.seconds) for one in trace.forwards] if one_by_one else []
    return Took.of(float(trace.end.get("usage", {}).get("seconds", 0.0)), passes)


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


def text_of(trace: Trace) -> str:
    """What its kept tokens completed."""
    return "".join(text for p, text in zip(trace.proposals, trace.texts, strict=True) if p.keep)


def is_same(text: str, other: str) -> bool:
    """A last character of which bytes are missing may be there or not."""
    return text.rstrip(PENDING) == other.rstrip(PENDING)


# -- the method, asked again ----------------------------------------------------------------------


def _again(
    one: Mapping[str, Any],
    due: Due,
    method: Method,
    traces: Sequence[Trace],
    decoder: Decoder | None,
    found: Found,
) -> Generator[str, None, Groups]:
    """Ask after ask."""
    if not due.placed and due.spec["name"] in ("elsewhere", "requests"):
        found.trust(f"who was to write {due.label}: the task cannot be made again here")
        return (yield from _foreign(one, due, traces, found))
    if due.spec["name"] == "opening" and not (decoder and decoder.alike):
        found.trust(f"the first sentence of {due.label}: the run's tokenizers are not here")
        return (yield from _foreign(one, due, traces, found))
    left, groups = list(enumerate(traces)), list[Sequence[Trace]]()
    writing = method.write(_pair(decoder), due.question)  # type: ignore[arg-type]  # a stand-in
    answers: list[Answer] | None = None
    while True:
        try:
            ask = next(writing) if answers is None else writing.send(answers)
        except StopIteration as done:
            yield from _ended(one, done.value, left)
            return groups
        assert isinstance(ask, Ask), "others leave a trace of their own"
        given, left = left[: ask.n], left[ask.n :]
        if len(given) < ask.n:
            yield f"has {len(traces)} traces, its method asks for more"
            return groups
        for index, (number, trace) in enumerate(given):
            yield from _asked_for(number, trace, ask, index)
        groups.append([trace for _, trace in given])
        answers = [_answer(trace, one) for _, trace in given]


def _pair(decoder: Decoder | None) -> SimpleNamespace:
    """What methods ask a loaded pair for while they write, of a pair with one tokenizer."""
    tokenizer = None if decoder is None else decoder.tokenizers[Side.LLM]
    engine = SimpleNamespace(translation=None)
    return SimpleNamespace(tokenizer=tokenizer, engine=engine, models=dict.fromkeys(Side))


def _asked_for(number: int, trace: Trace, ask: Ask, index: int) -> Iterator[str]:
    policy = json.loads(json.dumps(ask.policy.spec()))
    if trace.policy != policy:
        yield f"trace {number} is of policy {trace.policy}, its method asks for {policy}"
    assert ask.sampling.seed is not None
    sampling = replace(ask.sampling, seed=sample_seed(ask.sampling.seed, index))
    if trace.sampling.seed != sampling.seed:
        yield (
            f"trace {number} has seed {trace.sampling.seed}, that of its problem and sample is "
            f"{sampling.seed}"
        )
    elif trace.sampling != sampling:
        yield f"trace {number} has {trace.sampling}, its method asks for {sampling}"
    kept = sum(proposal.keep for proposal in trace.proposals)
    if kept > ask.max_tokens:
        yield f"trace {number} keeps {kept} tokens, {ask.max_tokens} were asked for"


def _answer(trace: Trace, one: Mapping[str, Any]) -> Answer:
    usage = {key: trace.end.get("usage", {}).get(key, 0) for key in Usage.__dataclass_fields__}
    reason = str(trace.end.get("reason"))
    return Answer(text_of(trace), one.get("inside", False), reason, Usage(**usage), trace)


def _ended(
    one: Mapping[str, Any], written: Written, left: Sequence[tuple[int, Trace]]
) -> Iterator[str]:
    if left:
        yield f"has trace {left[0][0]}, for which its method does not ask"
    if not is_same(one["text"], written.text):
        yield "text is not what its method makes of its traces"
    if one["reason"] != written.reason:
        yield f"reason is {one['reason']}, its trace ended by {written.reason}"


# -- a method that is not asked -------------------------------------------------------------------


def _foreign(
    one: Mapping[str, Any], due: Due, traces: Sequence[Trace], found: Found
) -> Generator[str, None, Groups]:
    """The text has to be that of a trace, unless a method made it, whose code is not run."""
    first, seed = traces[0], due.question.sampling.seed
    if first.sampling.seed != seed:
        yield (f"trace 0 has seed {first.sampling.seed}, that of its problem and sample is {seed}")
    matching = [trace for trace in traces if is_same(one["text"], text_of(trace))]
    if matching and one["reason"] not in {trace.end.get("reason") for trace in matching}:
        yield f"reason is {one['reason']}, its trace ended by {matching[0].end.get('reason')}"
    if not matching and (due.method is not None or first.policy == due.spec):
        if due.spec["name"] != "opening" or not one["text"].endswith(text_of(traces[-1])):
            yield "text is not what one of its traces wrote"
    elif due.method is None and first.policy != due.spec:
        found.trust(f"text of {due.label}, which of its traces it is: its method is not run")
    return [[trace] for trace in traces] if len(traces) == 1 else [list(traces)]

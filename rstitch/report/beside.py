"""Answers that were written beside the engine, held against their traces: tokens with their sides,
and passes, of speculation, early exit, transformers and vLLM."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from rstitch.report.by_engine import Due, is_same
from rstitch.report.decoded import Decoder
from rstitch.report.found import Found
from rstitch.report.timed import Took
from rstitch.types import Side

OUTSIDE = ("transformers-generate", "transformers-assisted", "vllm", "vllm-draft", "vllm-fly")


def wrong(
    one: Mapping[str, Any], due: Due, decoder: Decoder | None, found: Found
) -> Generator[str, None, Took | None]:
    """What the trace says against the record, and in the end how long it took."""
    if len(one["traces"]) > 1:
        yield f"has {len(one['traces'])} traces, its method leaves one"
    trace = one["traces"][0]
    try:
        sides, tokens = str(trace["sides"]), [int(token) for token in trace["tokens"]]
        passes = [(int(row[0]), float(row[-1])) for row in trace["forwards"]]
        clock = float(trace["seconds"]) if "seconds" in trace else None
    except (LookupError, TypeError, ValueError) as error:
        yield f"its trace cannot be read ({error!r})"
        return None
    if len(sides) != len(tokens):
        yield f"its trace has {len(tokens)} tokens and {len(sides)} sides"
    for side in Side:
        count = sides.count(str(int(side)))
        if one[f"{side.label}_tokens"] != count:
            yield f"{side.label}_tokens is {one[f'{side.label}_tokens']}, its trace has {count}"
    yield from _asked_for(trace, due)
    yield from _text(one, tokens, due, decoder, found)
    yield from _trials(one, due, [side for side, _ in passes], found)
    if clock is None:
        found.trust(f"seconds of {due.label} beyond those of its passes")
    return Took.of(clock, passes)


def _asked_for(trace: Mapping[str, Any], due: Due) -> Iterator[str]:
    said = trace["method"]
    outside = due.spec["name"] in OUTSIDE  # its trace has threads and attention too
    if said.get("name") != due.spec["name"] or not (outside or said == due.spec):
        yield f"its trace is of {said}, the method is {due.spec}"
    wanted = due.question.sampling
    for name, value in trace["sampling"].items():
        if value != getattr(wanted, name):
            yield f"its trace has {name} {value}, that of its problem and sample is " + (
                f"{getattr(wanted, name)}"
            )
    if len(trace["tokens"]) > due.question.max_tokens:
        yield f"its trace has {len(trace['tokens'])} tokens, {due.question.max_tokens} were asked"


def _text(
    one: Mapping[str, Any], tokens: list[int], due: Due, decoder: Decoder | None, found: Found
) -> Iterator[str]:
    if decoder is None:
        found.trust(f"text of {due.label}: the run's tokenizers are not here")
        return
    if due.spec["name"] in OUTSIDE:
        # Its own decoding may tidy up spaces.
        whole = decoder.tokenizers[Side.LLM].decode(tokens, skip_special_tokens=True)
        fits = "".join(whole.split()) == "".join(one["text"].split())
    else:
        ways = [tokens, tokens[:-1]] if one["reason"] == "stop" else [tokens]
        fits = any(is_same(decoder.retold(way, Side.LLM), one["text"]) for way in ways)
    if not fits:
        yield "text is not that of its trace's tokens"


def _trials(one: Mapping[str, Any], due: Due, sides: list[int], found: Found) -> Iterator[str]:
    """Tokens on trial in vain, by what the method counted and by the SLM's passes."""
    extra = one["extra"]
    drafted, accepted, trial = (
        extra.get(name, 0) for name in ("drafted", "accepted", "trial_tokens")
    )
    if one["lost_tokens"] != drafted - accepted + trial:
        yield f"lost_tokens is {one['lost_tokens']}, drafts and trials make " + (
            f"{drafted - accepted + trial}"
        )
    if one["discards"] != extra.get("rejected", 0):
        yield f"discards is {one['discards']}, rejected were {extra.get('rejected', 0)}"
    if trial:
        found.trust(f"tokens on trial of {due.label}, and their seconds")
        if extra.get("trial_seconds", 0.0) > one["seconds"][-1]:
            yield f"trial_seconds is {extra['trial_seconds']:.6g}, more than the whole answer took"
    if due.spec["name"] in ("speculative", "gated-speculative"):
        yield from _drafts(one, due, sides, drafted, accepted)


def _drafts(
    one: Mapping[str, Any], due: Due, sides: list[int], drafted: int, accepted: int
) -> Iterator[str]:
    """Each drafted token took a pass of the SLM. Others are its prompt's before the first draft,
    and with a gate the one at which a round's draft was ended."""
    most, rounds = sides.count(int(Side.SLM)), sides.count(int(Side.LLM))
    first = sides.index(int(Side.LLM)) if rounds else most
    spare = max(0, first - 1) if due.spec["name"] == "speculative" else first + rounds
    if not most - spare <= drafted <= most:
        yield f"drafted is {drafted}, its trace has {most} passes of the SLM"
    loose = drafted if due.spec.get("adapt") else int(due.spec.get("k", 0))  # an end in a draft
    if not one["slm_tokens"] <= accepted <= one["slm_tokens"] + loose:
        yield f"accepted is {accepted}, its trace has {one['slm_tokens']} tokens of the SLM"

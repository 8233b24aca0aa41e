"""A recording: a run whose answers are read again by both models, and whose errors are traced.

Beside the answers of an evaluation, records.jsonl has a line for each answer with both models'
scores at every position (`scored`), and one for each answer of the SLM alone: with its harmful
tokens if it is wrong (`harmful`), with its harmless disagreements if it is right. All are made of
the answers that are there, so they may be asked for later, and what a crash left out is owed like
an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch.errors import BadRequest, BadRun
from rstitch.evals import directory, drive, evaluate
from rstitch.evals.directory import Run
from rstitch.evals.evaluate import Plan, Tell
from rstitch.evals.methods import Method
from rstitch.evals.methods.base import Question, Written
from rstitch.evals.methods.ruled import Ruled, Stitched
from rstitch.evals.packed import unpack
from rstitch.evals.recording.harmful import Losing, Turning, Wrong
from rstitch.evals.recording.kinds import Kinds
from rstitch.evals.recording.scored import score
from rstitch.evals.task import Problem
from rstitch.evals.verify import Verifier

if TYPE_CHECKING:
    from rstitch.api import Stitch

SLM = "slm"
SEARCHES = (Turning, Losing)


def check(methods: Mapping[str, Method], harmful: bool, temperature: float) -> None:
    """Raise BadRequest for what cannot be recorded, before anything is loaded."""
    for label, method in methods.items():
        if not isinstance(method, Ruled | Stitched):
            raise BadRequest(
                f"--method {label} writes more than one answer, or not by a policy; record takes "
                "slm, llm, stitched and policies"
            )
    if harmful and SLM not in methods:
        raise BadRequest("--harmful is about errors of the SLM alone; add --method slm")
    if harmful and temperature > 0:
        raise BadRequest(
            f"--harmful with --temperature {temperature:g}: a harmful token is one of a greedy "
            "answer; leave one of them out"
        )


def record(
    stitch: Stitch,
    plan: Plan,
    out: Path,
    about: Mapping[str, Any],
    verifier: Verifier,
    tell: Tell,
    *,
    scores: bool,
    harmful: bool,
) -> None:
    """Begin a recording, or go on with it, to its end. `harmful` needs the scores."""
    evaluate.run(stitch, plan, out, about, verifier, tell)
    with directory.opened(out) as found:
        for line in _scores(stitch, plan, found, tell) if scores else ():
            found.add(line)
        for line in _harm(stitch, plan, found, verifier, tell) if harmful else ():
            found.add(line)


def _scores(stitch: Stitch, plan: Plan, found: Run, tell: Tell) -> Iterator[dict[str, Any]]:
    """Of every answer that has none yet and was written at all."""
    texts = {one.id: one.text for one in plan.problems}
    done = {_key(one) for one in found.records if one["type"] == "scores"}
    total = sum(one["type"] == "answer" for one in found.records)
    at = 0
    for one in directory.read_records(found.path):
        if one["type"] != "answer":
            continue
        tell("scores", at, total)
        at += 1
        if _key(one) not in done and one["traces"]:
            read = score(stitch, texts[one["problem"]], unpack(one["traces"][0]))
            head = {name: one[name] for name in ("method", "problem", "sample")}
            yield {"type": "scores", **head, **read}
    tell("scores", total, total)


def _key(one: Mapping[str, Any]) -> tuple[str, str, int]:
    return one["method"], one["problem"], one["sample"]


# -- harmful tokens -------------------------------------------------------------------------------


def _harm(
    stitch: Stitch, plan: Plan, found: Run, verifier: Verifier, tell: Tell
) -> Iterator[dict[str, Any]]:
    """Of every wrong answer of the SLM alone that has none yet; two searches each, in flight."""
    wrong = _answered(found, right=False)
    done = {one["problem"] for one in found.records if one["type"] in ("harm", "harmless")}
    yield from _harmless(stitch, found, _answered(found, right=True) - done)
    trials = _Trials(found)
    jobs = _searches(stitch, plan, trials, verifier, wrong - done)
    halves: dict[str, dict[str, Written]] = {}
    finished = len(wrong & done)
    tell("harmful tokens", finished, len(wrong))
    for (problem, sense), written, _ in drive.many(stitch, jobs, plan.in_flight):
        trials.check()
        both = halves.setdefault(problem, {})
        both[sense] = written
        if len(both) == len(SEARCHES):
            yield _line(problem, halves.pop(problem))
            finished += 1
            tell("harmful tokens", finished, len(wrong))


def _answered(found: Run, right: bool) -> set[str]:
    """Problems that the SLM alone got right, or wrong."""
    answers = (one for one in found.records if one["type"] == "answer" and _is_first(one))
    return {one["problem"] for one in answers if bool(one["right"]) is right}


def _harmless(stitch: Stitch, found: Run, owed: set[str]) -> Iterator[dict[str, Any]]:
    """Of right answers: positions at which the LLM would have written something else, by kind."""
    kinds = Kinds(stitch)
    for one in directory.read_records(found.path):
        if one["type"] != "scores" or not _is_first(one) or one["problem"] not in owed:
            continue
        positions: dict[str, list[int]] = {}
        for t, (token, top) in enumerate(zip(one["tokens"], one["llm"]["top"], strict=True)):
            if token != top:
                positions.setdefault(kinds.of(token), []).append(t)
        yield {"type": "harmless", "problem": one["problem"], "positions": positions}


def _searches(
    stitch: Stitch, plan: Plan, trials: _Trials, verifier: Verifier, owed: set[str]
) -> Iterator[tuple[tuple[str, str], Method, Question]]:
    indices = {one.id: index for index, one in enumerate(plan.problems)}
    kinds = Kinds(stitch)
    for one in directory.read_records(trials.found.path):
        if one["type"] != "scores" or not _is_first(one) or one["problem"] not in owed:
            continue
        index = indices[one["problem"]]
        tokens = tuple(one["tokens"])
        wrong = Wrong(
            tokens,
            tuple(one["llm"]["top"]),
            tuple(map(kinds.of, tokens)),
            _Judge(plan, plan.problems[index], verifier),
        )
        for search in SEARCHES:
            key = one["problem"], search.name
            known, keep = trials.known.get(key, {}), partial(trials.keep, key)
            yield key, search(wrong, known, keep), plan.question(index, 0)


class _Trials:
    """Every continuation of a prefix has a line, so that hours of them survive a crash."""

    def __init__(self, found: Run) -> None:
        self.found = found
        self.known: dict[tuple[str, str], dict[int, bool]] = {}
        """By problem and sense: by position whether the answer was right."""
        self._trouble: BadRun | None = None
        for one in found.records:
            if one["type"] == "trial":
                key = one["problem"], one["sense"]
                self.known.setdefault(key, {})[one["at"]] = one["right"]

    def keep(self, key: tuple[str, str], at: int, right: bool) -> None:
        problem, sense = key
        line = {"type": "trial", "problem": problem, "sense": sense, "at": at, "right": right}
        try:
            self.found.add(line)
        except BadRun as error:  # within a search it would pass for a question that has no answer
            self._trouble = error
            raise

    def check(self) -> None:
        if self._trouble is not None:
            raise self._trouble


def _is_first(one: Mapping[str, Any]) -> bool:
    """Greedy answers to one problem are all the same."""
    return (one["method"], one["sample"]) == (SLM, 0)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Whether an answer to one problem is right, by the task's own grader."""

    plan: Plan
    problem: Problem
    verifier: Verifier

    def __call__(self, text: str, inside: bool) -> bool:
        return self.plan.task.is_right(self.problem, text, self.verifier, inside)


def _line(problem: str, searched: Mapping[str, Written]) -> dict[str, Any]:
    """h1 and h2 are positions in the SLM's answer, from 0, or null where there is no such token."""
    told = {sense: written.extra for sense, written in searched.items()}
    errors = [extra["error"] for extra in told.values() if "error" in extra]
    return {
        "type": "harm",
        "problem": problem,
        **{sense: told[sense].get("at") for sense in sorted(told)},
        **{f"{sense}_controls": told[sense].get("controls", []) for sense in sorted(told)},
        "kinds": {sense: told[sense].get("kind") for sense in sorted(told)},
        "tried": sum(extra.get("tried", 0) for extra in told.values()),
        **({"error": errors[0]} if errors else {}),
    }

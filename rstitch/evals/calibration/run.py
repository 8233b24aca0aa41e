"""Which tau suits a pair and somebody's prompts: what is written for that, and in which order.

First the LLM alone, many in flight; then one tau after the other, the same; then single answers for
their latency, all methods taking turns. Everything finished is a line of a run directory, so that
what is interrupted goes on, and what there was no time for can be had by the same command again.

    prompts = read("mine.txt")
    with rstitch.load("r1-7b") as stitch, Verifier() as verifier:
        plan = Plan(prompts, taus=(0.01, 0.02, 0.05), sampling=stitch.defaults.sampling)
        curve = calibrate(stitch, plan, Path("run"), verifier)
    choice = pick(curve, Wanted(agreement=0.95))
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch.errors import BadRequest, BadRun
from rstitch.evals import directory
from rstitch.evals.calibration import bound
from rstitch.evals.calibration.curve import (
    AGAIN,
    LLM,
    Curve,
    curve,
    method_of,
    same_answer,
    untimed,
    won_lost,
)
from rstitch.evals.calibration.deadline import Job, Outcome, OutOfTime, answered
from rstitch.evals.calibration.plan import Bound, Plan, spread_order
from rstitch.evals.directory import Run
from rstitch.evals.evaluate import Tell
from rstitch.evals.machine import machine, model
from rstitch.evals.methods.base import Question, again
from rstitch.evals.task import Problem
from rstitch.evals.verify import Verifier
from rstitch.pairs.hashes import weights
from rstitch.pairs.recipe.splits import spread
from rstitch.policy import Policy, make

if TYPE_CHECKING:
    from rstitch.api import Stitch

TIMED = 20
"""Prompts, at most, on which latencies are measured."""
FOR_LLM, FOR_ANSWERS = 0.35, 0.7
"""Of the time: until when the LLM alone, and until when all answers in flight, may take."""


def calibrate(
    stitch: Stitch,
    plan: Plan,
    out: Path,
    verifier: Verifier,
    tell: Tell = lambda what, done, total: None,
    started: float | None = None,
) -> Curve:
    """Begin a run in that directory, or go on with it. started: when the time began to count, on
    `time.perf_counter`.

    Raises BadRun where the directory belongs to something else, BadRequest where the time was not
    enough for anything.
    """
    with _open(out, {**plan.asked(), **about(stitch)}) as run:
        work = _Work(stitch, plan, run, verifier, tell, started or time.perf_counter())
        left_out = work.everything()
    return curve(run.records, plan.prompts, plan.taus, plan.bound, left_out)


def about(stitch: Stitch) -> dict[str, Any]:
    """The pair, as it was loaded, and the machine."""
    sources = {side.label: (one.source, one.revision) for side, one in stitch.models.items()}
    return {
        "models": {label: model(*one) for label, one in sources.items()},
        "weights": {label: weights(*one) for label, one in sources.items()},
        "suffixes": {side.label: text for side, text in stitch.suffixes.items()},
        "settings": asdict(stitch.engine.config),
        "machine": machine(),
    }


# -- the work -------------------------------------------------------------------------------------


@dataclass
class _Work:
    """One go at a plan: asks, grades and keeps."""

    stitch: Stitch
    plan: Plan
    run: Run
    verifier: Verifier
    tell: Tell
    started: float
    known: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Answers by method and prompt."""

    def __post_init__(self) -> None:
        for one in self.run.records:
            if one["type"] == "answer":
                self._of(one["method"])[one["problem"]] = one

    def everything(self) -> list[str]:
        """What was left out, a line each."""
        problems = self._llm_alone()
        total, left_out = len(self.plan.prompts.problems), []
        if len(problems) < total:
            left_out.append(
                f"{total - len(problems)} of {total} prompts: the LLM alone took "
                f"{FOR_LLM:.0%} of the time for {len(problems)}"
            )
        if self.plan.sampling.temperature and not self.plan.bound:
            self._try(AGAIN, problems, self._until(FOR_ANSWERS))
        done, missing = self._taus(problems)
        left_out += missing
        limits = self.plan.bound
        if limits:  # what no card can hold needs no latency
            done = [tau for tau in done if self._shown(tau, problems, limits)]
        timed = spread(problems, TIMED) if done else []
        rounds = self._latencies(timed, [LLM, *map(method_of, done)])
        if rounds < len(timed):
            left_out.append(f"latencies on {len(timed) - rounds} of {len(timed)} prompts: no time")
        return left_out

    def _llm_alone(self) -> list[Problem]:
        """The prompts that count: those before the first that there was no time for, so that short
        answers are not favoured. For a bound all or none: to test at every look at a growing sample
        errs more often than promised (14 % for 5 % in five looks)."""
        every = self.plan.prompts.problems
        share = FOR_ANSWERS if self.plan.bound else FOR_LLM
        self._try(LLM, every, self._until(share))
        known = self._of(LLM)
        count = next((i for i, one in enumerate(every) if one.id not in known), len(every))
        found = [one for one in every[:count] if known[one.id]["reason"] != "failed"]
        if not found and count:
            raise BadRequest(f"the LLM alone answers no prompt: {known[every[0].id]['error']}")
        if not found:
            raise BadRequest(
                f"the LLM alone has not finished an answer in {share:.0%} of "
                f"{self.plan.minutes:g} minutes; give more --minutes, or lower --max-tokens"
            )
        if self.plan.bound and count < len(every):
            raise BadRequest(
                f"the LLM alone has answered {count} of {len(every)} prompts in {share:.0%} of "
                f"{self.plan.minutes:g} minutes, and a bound is tested once, on all of them; what "
                "is finished is kept: give the same command again, or more --minutes"
            )
        return found

    def _taus(self, problems: Sequence[Problem]) -> tuple[list[float], list[str]]:
        """Those finished, and a line about those that are not."""
        limits = self.plan.bound
        order = sorted(self.plan.taus) if limits else spread_order(self.plan.taus)
        done: list[float] = []
        slowest, until = 0.0, self._until(FOR_ANSWERS)
        for tau in order:
            begun = time.perf_counter()
            if done and begun + slowest > until:
                return done, _missing(order, done, "no time")
            if not self._try(method_of(tau), problems, until):
                if not done:
                    raise BadRequest(
                        f"{self.plan.minutes:g} minutes were not enough for the LLM alone and one "
                        "tau; what is finished is kept: give the same command again, or more "
                        "--minutes"
                    )
                return done, _missing(order, done, "no time")
            slowest = max(slowest, time.perf_counter() - begun)
            done.append(tau)
            if limits and not self._shown(tau, problems, limits):
                return done, _missing(order, done, f"nothing is shown beyond {tau:g}, which is not")
        return done, []

    def _shown(self, tau: float, problems: Sequence[Problem], limits: Bound) -> bool:
        ours, theirs = (self._of(name) for name in (method_of(tau), LLM))
        won, lost = won_lost([ours[p.id] for p in problems], [theirs[p.id] for p in problems])
        return bound.shown(won, lost, len(problems), limits.within, limits.confidence)

    def _try(self, method: str, problems: Sequence[Problem], until: float) -> bool:
        """Answer those that are owed, many in flight; whether all are finished."""
        known = self._of(method)
        owed = [one for one in problems if one.id not in known]
        jobs = (Job(one, self._question(method, one), _policy(method)) for one in owed)
        rows = self.stitch.engine.config.max_rows
        before = len(problems) - len(owed)
        try:
            with closing(answered(self.stitch, jobs, rows, until)) as outcomes:
                for done, (one, outcome) in enumerate(outcomes, before + 1):
                    record = self._record(method, one, outcome)
                    self.run.add(record)
                    self._of(method)[one.id] = record
                    self.tell(method, done, len(problems))
        except OutOfTime:
            return False
        return True

    def _question(self, method: str, problem: Problem) -> Question:
        question = self.plan.question(problem)
        return replace(question, sampling=again(question.sampling)) if method == AGAIN else question

    def _record(self, method: str, problem: Problem, outcome: Outcome) -> dict[str, Any]:
        answer, task = outcome.answer, self.plan.prompts.task
        text, inside = (answer.text, answer.starts_thinking) if answer else ("", False)
        record: dict[str, Any] = {
            "type": "answer",
            "method": method,
            "problem": problem.id,
            "reason": answer.reason if answer else "failed",
            "error": outcome.error,
            "slm_tokens": answer.usage.slm_tokens if answer else 0,
            "llm_tokens": answer.usage.llm_tokens if answer else 0,
            "text": text,
            "inside": inside,
            "right": task.is_right(problem, text, self.verifier, inside) if task else None,
        }
        if method != LLM:
            theirs = self._of(LLM)[problem.id]
            record["agrees"] = bool(answer) and same_answer(record, theirs, self.verifier)
        return record

    def _latencies(self, problems: Sequence[Problem], methods: Sequence[str]) -> int:
        """Single answers, the methods taking turns in an order that rotates; problems that are
        timed in the end. A round that is not finished says nothing. Taus that are added later take
        turns with the LLM, which every speed-up is over."""
        records = self.run.records
        owed = [(one, names) for one in problems if (names := untimed(records, one.id, methods))]
        done, until = len(problems) - len(owed), self._until(1.0)
        try:
            if owed:
                one, names = min(owed, key=lambda pair: len(pair[0].text))
                self._round(one, names[:2], until)  # warm
            for turn, (one, names) in enumerate(owed):
                self.tell("latency", done, len(problems))
                at = turn % len(names)
                seconds = self._round(one, [*names[at:], *names[:at]], until)
                self.run.add({"type": "latency", "problem": one.id, "seconds": seconds})
                done += 1
        except OutOfTime:
            return done
        self.tell("latency", len(problems), len(problems))
        return len(problems)

    def _round(
        self, problem: Problem, methods: Sequence[str], until: float
    ) -> dict[str, float | None]:
        """None for what could not be answered."""
        jobs = [Job(name, self._question(name, problem), _policy(name)) for name in methods]
        with closing(answered(self.stitch, jobs, 1, until)) as outcomes:
            return {name: one.seconds if one.answer else None for name, one in outcomes}

    def _of(self, method: str) -> dict[str, dict[str, Any]]:
        return self.known.setdefault(method, {})

    def _until(self, share: float) -> float:
        minutes = self.plan.minutes
        return math.inf if minutes is None else self.started + share * 60 * minutes


def _missing(taus: Sequence[float], done: Sequence[float], why: str) -> list[str]:
    left = [f"{tau:g}" for tau in sorted(taus) if tau not in done]
    return [f"tau {', '.join(left)}: {why}"] if left else []


def _policy(method: str) -> Policy:
    if method in (LLM, AGAIN):
        return make("llm")
    return make("entropy", tau=float(method.removeprefix("tau=")))


def _open(out: Path, asked: Mapping[str, Any]) -> Run:
    try:
        directory.begin(out, asked)
        file = directory.claim(out)
        try:
            if directory.begin(out, asked) is None:
                directory.create(out, asked, {})
        except BaseException:
            os.close(file)
            raise
        return directory.opened(out, file)
    except BadRun as error:  # the option has another name here
        raise BadRun(str(error).replace("--out ", "--run ", 1)) from error

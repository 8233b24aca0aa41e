"""A run's records held against their own traces and their task: what is said twice has to agree.

No model is run. An edited token, side, count, second, text or verdict shows here even where its
hash was edited too, as far as something else in the run depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstitch.baselines.registry import BASELINES
from rstitch.errors import RStitchError
from rstitch.evals import directory
from rstitch.evals.methods import METHODS, make
from rstitch.evals.methods.base import Method, Question
from rstitch.evals.seeds import seed_of
from rstitch.evals.verify import Verifier
from rstitch.policy import REGISTRY as POLICIES
from rstitch.report import beside, by_engine, timed
from rstitch.report.answers import Answers
from rstitch.report.by_engine import Due
from rstitch.report.decoded import Decoder
from rstitch.report.found import Found
from rstitch.report.loaded import Tell, silent
from rstitch.report.timed import Sums, Took
from rstitch.types import Sampling

COUNTED = (*by_engine.COUNTS, "lost_tokens", "tokens")


def recheck(path: Path, config: Mapping[str, Any], tell: Tell = silent) -> Found:
    """Every answer of a run. Raises BadRun for a broken line."""
    asked = config["asked"]
    due = asked["problems"] * asked["samples"] * len(config["methods"])
    with Verifier() as verifier:
        run = _Run.of(config, verifier)
        for one in directory.read_records(path):
            if one["type"] == "batch":
                run.rates[one["method"]] += one["tokens"]
            if one["type"] == "answer":
                tell("checking", run.found.records, due)
                run.add(one)
    tell("checking", due, due)
    run.end()
    return run.found


@dataclass
class _Run:
    """A run that is being checked, and what its records add up to."""

    config: Mapping[str, Any]
    methods: Mapping[str, Method | None]
    """None where it is a file's or another package's, which is not asked."""
    answers: Answers | None
    """None where the task cannot be made here."""
    places: Mapping[str, int]
    decoder: Decoder | None
    found: Found = field(default_factory=Found)
    seen: set[tuple[str, str, int]] = field(default_factory=set)
    written: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    """Tokens that a method's rate is of."""
    sums: dict[str, Sums] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Mapping[str, Any], verifier: Verifier) -> _Run:
        answers = Answers.of(config["asked"], verifier)
        places = {name: at for at, name in enumerate(answers.problems)} if answers else {}
        run = cls(config, {}, answers, places, Decoder.of(config))
        if answers is None:
            run.found.trust("right or wrong: the task cannot be made again here")
        run.methods = {label: run._made(label, dict(s)) for label, s in config["methods"].items()}
        return run

    def _made(self, label: str, spec: dict[str, Any]) -> Method | None:
        """Of what this package brings alone: no code is run that a run names."""
        name = spec.pop("name")
        ours = {*METHODS.built_in, *BASELINES.built_in, *POLICIES}
        if name not in ours:
            self.found.trust(f"what {label} asked for: its method is a file's")
            return None
        try:
            return make(name, **spec)
        except RStitchError as error:
            self.found.differences.append(f"{label}: {error}")
            return None

    # -- a record -------------------------------------------------------------------------------

    def add(self, one: Mapping[str, Any]) -> None:
        where = f"{one['method']}, {one['problem']}, sample {one['sample']}"
        try:
            lines = list(self._wrong(one))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            lines = [f"cannot be read ({error!r})"]
        self.found.records += 1
        self.found.differences += [f"{where}: {line}" for line in lines]

    def _wrong(self, one: Mapping[str, Any]) -> Iterator[str]:
        asked, label = self.config["asked"], one["method"]
        yield from self._place(one)
        if label not in self.methods:
            return
        self.written[label] += one["tokens"]
        if self.answers is not None:
            yield from self.answers.wrong(one)
        yield from timed.repeats(one, asked["repeats"])
        total = one["slm_tokens"] + one["llm_tokens"] + one["lost_tokens"]
        if one["tokens"] != total:
            yield f"tokens is {one['tokens']}, its parts make {total}"
        if one["reason"] == "failed":
            yield from self._failed(one)
            return
        took = yield from self._traces(one)
        if took is not None and asked["in_flight"] == 1:
            yield from timed.wrong(one["seconds"], took)
            self.sums.setdefault(label, Sums()).add(one["seconds"], took)
        elif took is not None and one["seconds"][-1] + timed.SLACK < took.whole:
            yield f"seconds is {one['seconds'][-1]:.6g}, its trace took {took.whole:.6g}"

    def _place(self, one: Mapping[str, Any]) -> Iterator[str]:
        """Each answer that was asked for is there once."""
        asked, cell = self.config["asked"], (one["method"], one["problem"], one["sample"])
        if one["method"] not in self.methods:
            yield "is of no method of the run"
        if type(one["sample"]) is not int or not 0 <= one["sample"] < asked["samples"]:
            yield f"the run has {asked['samples']} samples of each problem, from 0 on"
        if cell in self.seen:
            yield "is there twice"
        self.seen.add(cell)

    def _failed(self, one: Mapping[str, Any]) -> Iterator[str]:
        """It is in no latency that is compared, and nothing shows why."""
        self.found.trust(f"failed answers of {one['method']}: they are in no latency")
        if one["text"] or one["traces"] or any(one[name] for name in COUNTED):
            yield "reason is failed, but it has text, traces or tokens"

    def _traces(self, one: Mapping[str, Any]) -> Generator[str, None, Took | None]:
        traces, asked = one.get("traces", []), self.config["asked"]
        self.found.traces += len(traces)
        if not traces:
            if asked.get("traces", True):
                yield "has no trace, the run kept them"
            else:
                self.found.trust("tokens, decisions and seconds: answers without a trace")
            return None
        due = self._due(one)
        own = "proposals" not in traces[0]
        if due.method is not None and own == due.method.asks:
            yield f"its trace is not of the kind that {due.label} leaves"
            return None
        check = beside.wrong if own else by_engine.wrong
        return (yield from check(one, due, self.decoder, self.found))

    def _due(self, one: Mapping[str, Any]) -> Due:
        asked, label, problem = self.config["asked"], one["method"], one["problem"]
        drawn = seed_of(asked["seed"], problem, one["sample"])
        sampling = Sampling.of({**asked["sampling"], "seed": drawn})
        text = (
            self.answers.problems[problem].text if problem in self.places and self.answers else ""
        )
        question = Question(self.places.get(problem, 0), text, sampling, asked["max_tokens"])
        spec, method = self.config["methods"][label], self.methods[label]
        return Due(label, spec, method, question, problem in self.places, asked["in_flight"] == 1)

    # -- all of them ----------------------------------------------------------------------------

    def end(self) -> None:
        found, asked = self.found, self.config["asked"]
        problems = {problem for _, problem, _ in self.seen}
        if len(problems) > asked["problems"]:
            found.differences.append(
                f"has answers to {len(problems)} problems, the run is of {asked['problems']}"
            )
        for method, sums in self.sums.items():
            line = sums.wrong()
            if line is not None:
                found.differences.append(f"{method}: {line}")
        for method, tokens in self.rates.items():
            found.trust(f"seconds of the rate of {method}")
            if tokens > self.written[method]:
                found.differences.append(
                    f"{method}: its rate is of {tokens} tokens, its answers have "
                    f"{self.written[method]}"
                )

"""The loop of an evaluation: every method on the same problems, each answer graded and kept.

One at a time, methods take turns problem by problem and repeat by repeat, in an order that rotates,
so that a machine that slows down slows all of them. Many in flight, one method follows the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch.errors import BadRequest, BadRun
from rstitch.evals import directory, drive
from rstitch.evals.directory import Run
from rstitch.evals.methods import Method, make
from rstitch.evals.methods.base import Question, Written
from rstitch.evals.packed import pack
from rstitch.evals.pilot import SIZE, PairPilot
from rstitch.evals.seeds import seed_of
from rstitch.evals.task import Problem, Task, fingerprint
from rstitch.evals.verify import Verifier
from rstitch.pairs.hashes import digest
from rstitch.pairs.recipe.splits import spread
from rstitch.registry import is_file
from rstitch.types import Sampling

if TYPE_CHECKING:
    from rstitch.api import Stitch

SEGMENT = 60.0
"""Seconds after which a rate is written down, many in flight."""
Tell = Callable[[str, int, int], None]
"""(what is going on, how many of it are done, of how many)."""
WARM_COMPILED = 30
"""Problems before the first that counts, where every size of step compiles on its first use."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, apart from the pair."""

    task: Task
    problems: tuple[Problem, ...]
    methods: Mapping[str, Method]
    """By the label under which a table shows them."""
    reference: str
    """The label of the method that controls are matched to."""
    sampling: Sampling
    max_tokens: int = 512
    samples: int = 1
    repeats: int = 1
    """How often each answer is timed."""
    in_flight: int = 1
    seed: int = 0
    traces: bool = True

    def __post_init__(self) -> None:
        if self.repeats > 1 and self.in_flight > 1:
            raise BadRequest(
                f"--repeats {self.repeats} with --in-flight {self.in_flight}: an answer among "
                "others has no latency to repeat; leave one of them out"
            )

    def asked(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with."""
        return {
            "task": self.task.spec(),
            "problems": len(self.problems),
            "fingerprint": fingerprint(self.problems),
            "methods": {label: method.spec() for label, method in self.methods.items()},
            "reference": self.reference,
            "sampling": {k: v for k, v in self.sampling.as_dict().items() if k != "seed"},
            "max_tokens": self.max_tokens,
            "samples": self.samples,
            "repeats": self.repeats,
            "in_flight": self.in_flight,
            "seed": self.seed,
            "traces": self.traces,
            "files": self.files(),
        }

    def files(self) -> dict[str, str]:
        """sha256 of what was given as path.py:Class: the rule may change under its name."""
        specs = (self.task.spec(), *(method.spec() for method in self.methods.values()))
        paths = {spec["name"].rpartition(":")[0] for spec in specs if is_file(spec["name"])}
        return {path: digest(Path(path)) for path in sorted(paths)}

    def question(self, index: int, sample: int) -> Question:
        """A problem as all methods see it, with a seed of its own."""
        problem = self.problems[index]
        seed = seed_of(self.seed, problem.id, sample)
        return Question(index, problem.text, replace(self.sampling, seed=seed), self.max_tokens)


def run(
    stitch: Stitch, plan: Plan, out: Path, about: Mapping[str, Any], verifier: Verifier, tell: Tell
) -> Run:
    """Begin a run, or go on with it, to its end. about: pair, machine, settings; part of what must
    not change. Raises BadRun where it did, or where the disk is full."""
    asked = {**plan.asked(), **about}
    directory.begin(out, asked)
    file = directory.claim(out)
    try:
        if directory.begin(out, asked) is None:
            fitted = fit(stitch, plan, tell)
            directory.create(out, asked, {label: method.spec() for label, method in fitted.items()})
    except BaseException:
        os.close(file)
        raise
    with directory.opened(out, file) as found:
        settled = found.config["methods"]
        methods = {name: remade(out, name, one, settled) for name, one in plan.methods.items()}
        plan = replace(plan, methods=methods)
        loop = _one_by_one if plan.in_flight == 1 else _batched
        for record in loop(stitch, plan, _finished(found), verifier, tell):
            found.add(record)
    return found


def fit(stitch: Stitch, plan: Plan, tell: Tell) -> dict[str, Method]:
    """The methods with every parameter settled, on some of the problems; no gold answer is seen."""
    for method in plan.methods.values():
        method.check(stitch)
    chosen = spread(range(len(plan.problems)), SIZE)
    questions = [plan.question(index, 0) for index in chosen]
    pilot = PairPilot(stitch, questions, plan.methods[plan.reference])
    pilot.reference = pilot.reference.fit(pilot)
    fitted = {}
    for done, (label, method) in enumerate(plan.methods.items()):
        tell(f"settling {label}", done, len(plan.methods))
        fitted[label] = method.fit(pilot)
    return fitted


def remade(out: Path, label: str, method: Method, settled: Mapping[str, Any]) -> Method:
    """The method as a run has settled it: by the name that the user gave, since a name may be that
    of a file, whose code is run."""
    name, spec = method.spec()["name"], settled.get(label, {})
    if spec.get("name") != name:
        raise BadRun(f"{out} says that {label} is {spec.get('name')}; delete the directory")
    return make(name, **{key: value for key, value in spec.items() if key != "name"})


def _finished(found: Run) -> set[tuple[str, str, int]]:
    answers = (one for one in found.records if one["type"] == "answer")
    return {(one["method"], one["problem"], one["sample"]) for one in answers}


# -- the two ways to run --------------------------------------------------------------------------


def _one_by_one(
    stitch: Stitch, plan: Plan, finished: set[tuple[str, str, int]], verifier: Verifier, tell: Tell
) -> Iterator[dict[str, Any]]:
    units = [(i, s) for s in range(plan.samples) for i in range(len(plan.problems))]
    warm = False
    for turn, (index, sample) in enumerate(units):
        tell("problems", turn, len(units))
        problem, question = plan.problems[index], plan.question(index, sample)
        labels = [m for m in plan.methods if (m, problem.id, sample) not in finished]
        if labels and not warm:
            warm = True
            _warm_up(stitch, plan, plan.methods)
        seconds: dict[str, list[float]] = {label: [] for label in labels}
        written: dict[str, Written] = {}
        for repeat in range(plan.repeats):
            for label in _rotated(labels, turn + repeat):
                written[label], took = drive.tried(stitch, plan.methods[label], question)
                seconds[label].append(took)
        for label in labels:
            head = {"method": label, "sample": sample, "seconds": seconds[label]}
            yield _record(plan, problem, head, written[label], verifier)
    tell("problems", len(units), len(units))


def _batched(
    stitch: Stitch, plan: Plan, finished: set[tuple[str, str, int]], verifier: Verifier, tell: Tell
) -> Iterator[dict[str, Any]]:
    units = [(i, s) for s in range(plan.samples) for i in range(len(plan.problems))]
    for label, method in plan.methods.items():
        owed = [u for u in units if (label, plan.problems[u[0]].id, u[1]) not in finished]
        jobs = ((unit, method, plan.question(*unit)) for unit in owed)
        if owed:
            _warm_up(stitch, plan, [label])
        segment = _Segment(label, method.batches)
        replies = drive.many(stitch, jobs, plan.in_flight)
        for done, ((index, sample), written, seconds) in enumerate(replies):
            paused = time.perf_counter()
            tell(label, len(units) - len(owed) + done, len(units))
            head = {"method": label, "sample": sample, "seconds": [seconds]}
            record = _record(plan, plan.problems[index], head, written, verifier)
            yield record
            segment.add(record["tokens"], time.perf_counter() - paused)
            if segment.seconds >= SEGMENT:
                yield segment.record()
                segment = _Segment(label, method.batches)
        if segment.answers:
            yield segment.record()
    tell("problems", len(units), len(units))


@dataclass
class _Segment:
    """A part of what one method wrote with many in flight: what was killed later keeps its rate."""

    method: str
    batches: bool
    answers: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def add(self, tokens: int, paused: float) -> None:
        """paused: seconds in which the engine stood still, while the answer was graded."""
        self.answers, self.tokens = self.answers + 1, self.tokens + tokens
        self.started += paused

    def record(self) -> dict[str, Any]:
        return {
            "type": "batch",
            "method": self.method,
            "batches": self.batches,
            "answers": self.answers,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }


def _warm_up(stitch: Stitch, plan: Plan, labels: Iterable[str]) -> None:
    """Uncounted answers, the shortest question first: a method that fails there fails everywhere,
    and what it raises ends the run."""
    indices = sorted(range(len(plan.problems)), key=lambda i: len(plan.problems[i].text))
    for index in indices[: WARM_COMPILED if stitch.engine.config.compile else 1]:
        for label in labels:
            drive.one(stitch, plan.methods[label], plan.question(index, 0))


def _rotated(labels: list[str], by: int) -> list[str]:
    at = by % len(labels) if labels else 0
    return labels[at:] + labels[:at]


def _record(
    plan: Plan, problem: Problem, head: dict[str, Any], written: Written, verifier: Verifier
) -> dict[str, Any]:
    usages = [answer.usage for answer in written.answers]
    counts = {
        name: sum(getattr(usage, name) for usage in usages)
        for name in (
            "slm_tokens", "llm_tokens", "discards", "handoffs", "catchup_tokens", "rewound_tokens",
        )
    }  # fmt: skip
    counts["lost_tokens"] = 0
    counts |= {k: v for k, v in written.extra.items() if k in counts}
    return {
        "type": "answer",
        "problem": problem.id,
        "group": problem.group,
        **head,
        "right": plan.task.is_right(problem, written.text, verifier, written.inside),
        "reason": written.reason,
        "tokens": counts["slm_tokens"] + counts["llm_tokens"] + counts["lost_tokens"],
        **counts,
        "extra": {k: v for k, v in written.extra.items() if k not in counts and k != "trace"},
        "text": written.text,
        "inside": written.inside,
        "traces": _traces(written) if plan.traces else [],
    }


def _traces(written: Written) -> list[Any]:
    """Of everything that the engine wrote, and what a method from elsewhere gives for its own."""
    own = [written.extra["trace"]] if "trace" in written.extra else []
    return [*(pack(answer.trace) for answer in written.answers), *own]

"""What `eval`, `compare` and `sweep` share: from options to a run, and its table on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import options
from rstitch.errors import BadRequest, RStitchError
from rstitch.types import Sampling

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.evals.evaluate import Plan, Tell
    from rstitch.evals.methods import Method
    from rstitch.evals.task import Problem, Task
    from rstitch.evals.verify import Verifier

Name = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="dev, test, ood-kind, ood-depth, ood-wording, aime24, aime25, amc23, amc83, arc, "
        "gsm8k, math500, minerva, olympiadbench, a path.jsonl of {id, problem, answer}, or "
        "path.py:Class; with parameters: test,seed=7.",
    ),
]
Out = Annotated[Path, typer.Option(help="Directory of the run; given again, it is gone on with.")]
Problems = Annotated[
    int | None, typer.Option(min=1, help="Evenly spread over the task; all if left out.")
]
Samples = Annotated[int, typer.Option(min=1, help="Answers per problem, each with its own seed.")]
Repeats = Annotated[
    int | None,
    typer.Option(min=1, help="How often each answer is timed; 3 if left out, 1 with --in-flight."),
]
InFlight = Annotated[
    int,
    typer.Option(min=1, help="1 measures the latency of an answer; more, throughput and accuracy."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")]
Temperature = Annotated[float | None, typer.Option(help="0 is greedy; the pair's own if left out.")]
TopP = Annotated[float | None, typer.Option(help="Nucleus; the pair's own if left out.")]
NoTraces = Annotated[
    bool, typer.Option("--no-traces", help="Keep counts and texts only: a tenth of the size.")
]
TENTHS = 10
NAMED = 10
"""Gold answers that are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of an evaluation, whichever command they came from."""

    task: Name
    out: Out
    problems: Problems = None
    samples: Samples = 1
    repeats: Repeats = None
    in_flight: InFlight = 1
    seed: Seed = 0
    max_tokens: MaxTokens = 512
    temperature: Temperature = None
    top_p: TopP = None
    no_traces: NoTraces = False
    as_json: options.Json = False

    @property
    def sampling(self) -> dict[str, Any]:
        """What was given of it."""
        return options.given(temperature=self.temperature, top_p=self.top_p)


def carry_out(
    asked: Asked,
    opening: options.Opening,
    methods: Sequence[str],
    like: str | None,
    optional: Sequence[str] = (),
    **settings: Any,
) -> None:
    """Load, run or go on, and print. What is wrong is told before anything is loaded. optional: the
    methods that may be left out, where the pair lacks what they need."""
    from rstitch.evals import evaluate

    plan = planned(asked, methods, like)
    with ready(asked, opening, plan, optional, **settings) as one:
        found = evaluate.run(one.stitch, one.plan, asked.out, one.about, one.verifier, one.tell)
    _print(found.config, found.records, asked, one.verifier)


def planned(asked: Asked, methods: Sequence[str], like: str | None) -> Plan:
    """What is to be run, as far as it is known before the pair is loaded."""
    from rstitch.evals import directory, drawn, tasks, verify
    from rstitch.evals.evaluate import Plan
    from rstitch.evals.methods import parse

    name, params = parse(asked.task)
    task = tasks.make(name, **params)
    if task.needs_verifier:
        verify.check()
    Sampling(**asked.sampling)
    directory.check(asked.out)
    chosen, reference = _methods(methods, like)
    return Plan(
        task=task,
        problems=tuple(drawn.evenly(task.problems(), asked.problems)),
        methods=chosen,
        reference=reference,
        sampling=Sampling(),
        max_tokens=asked.max_tokens,
        samples=asked.samples,
        repeats=asked.repeats or (3 if asked.in_flight == 1 else 1),
        in_flight=asked.in_flight,
        seed=asked.seed,
        traces=not asked.no_traces,
    )


@dataclass(frozen=True, slots=True)
class Ready:
    """A loaded pair, and what is to be done with it."""

    stitch: Stitch
    plan: Plan
    about: dict[str, Any]
    """What a run belongs to beside its plan."""
    verifier: Verifier
    tell: Tell


@contextmanager
def ready(
    asked: Asked,
    opening: options.Opening,
    plan: Plan,
    optional: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Ready]:
    """Load the pair, and settle what depends on it."""
    from rstitch.evals.verify import Verifier

    settings["max_rows"] = asked.in_flight if asked.in_flight > 1 else options.DEFAULTS.max_rows
    stitch = opening.open(**settings)
    with stitch, Verifier() as verifier:
        plan = replace(plan, sampling=replace(stitch.defaults.sampling, **asked.sampling))
        plan = replace(plan, methods=_able(stitch, plan.methods, optional))
        tell_gold(plan.problems, plan.task, verifier)
        with progress() as tell:
            yield Ready(
                stitch,
                plan,
                about_run(stitch, opening.pair, opening.slm, opening.llm),
                verifier,
                tell,
            )


def _methods(given: Sequence[str], like: str | None) -> tuple[dict[str, Any], str]:
    """Methods by label, and the label that controls are matched to."""
    from rstitch.evals.methods import make, parse

    found: dict[str, Any] = {}
    for label in given:
        if label in found:
            raise BadRequest(f"--method {label} is there twice; give it once")
        name, params = parse(label)
        found[label] = make(name, **params)
    reference = like or next((x for x in found if x.split(",")[0] == "stitched"), given[0])
    if reference not in found:
        raise BadRequest(f"--like {reference} is no --method of this run: {', '.join(found)}")
    controls = [label for label, method in found.items() if method.control]
    if controls and (found[reference].control or reference in ("llm", "slm")):
        raise BadRequest(
            f"{controls[0]} has to be like something: add --method stitched, or name it with --like"
        )
    return found, reference


def _able(
    stitch: Stitch, methods: Mapping[str, Method], optional: Sequence[str]
) -> dict[str, Method]:
    found = {}
    for label, method in methods.items():
        try:
            method.check(stitch)
        except RStitchError as error:
            if label not in optional:
                raise
            typer.echo(f"{label} is left out: {error}", err=True)
        else:
            found[label] = method
    return found


def about_run(stitch: Stitch, pair: str, slm: str | None, llm: str | None) -> dict[str, Any]:
    """What a run belongs to beside its plan."""
    from rstitch.evals.machine import machine, model
    from rstitch.pairs.hashes import weights

    models = {side: (one.source, one.revision) for side, one in stitch.models.items()}
    return {
        "pair": {"name": pair, "slm": slm, "llm": llm, "tau": stitch.tau, "suffixes": {
            side.label: text for side, text in stitch.suffixes.items()
        }},
        "models": {side.label: model(*one) for side, one in models.items()},
        "weights": {side.label: weights(*one) for side, one in models.items()},
        "settings": asdict(stitch.engine.config),
        "machine": machine(),
    }  # fmt: skip


def tell_gold(problems: Sequence[Problem], task: Task, verifier: Verifier) -> None:
    """A line about gold answers that are compared as text."""
    from rstitch.evals.normal import normal, number
    from rstitch.evals.task import unparsable

    if not task.needs_verifier:
        return
    odd = unparsable([one for one in problems if number(normal(one.answer)) is None], verifier)
    if odd:
        names = ", ".join(one.id for one in odd[:NAMED]) + (", ..." if len(odd) > NAMED else "")
        typer.echo(
            f"{len(odd)} of {len(problems)} gold answers are not read as mathematics and compared "
            f"as text: {names}",
            err=True,
        )


@contextmanager
def progress() -> Iterator[Tell]:
    """A bar on a terminal; elsewhere a line per tenth, on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    if not sys.stderr.isatty():
        yield _lines()
        return
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("")
        yield lambda what, done, total: bars.update(
            bar, description=what, completed=done, total=total
        )


def _lines() -> Tell:
    last: list[tuple[str, int]] = []

    def tell(what: str, done: int, total: int) -> None:
        tenth = (what, TENTHS * done // max(1, total))
        if [tenth] != last:
            last[:] = [tenth]
            typer.echo(f"{what}: {done}/{total}", err=True)

    return tell


def _print(
    config: Mapping[str, Any], records: Sequence[Any], asked: Asked, verifier: Verifier
) -> None:
    from rstitch.cli.tabled import by_group, lines
    from rstitch.evals.table import groups, table

    found, parts = table(config, records), groups(config, records)
    if asked.as_json:
        told = {name: asdict(one)["rows"] for name, one in parts.items()}
        typer.echo(json.dumps({"run": str(asked.out), **asdict(found), "groups": told}))
    else:
        typer.echo("\n".join([*lines(found), *by_group(parts)]))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if verifier.unanswered:
        typer.echo(
            f"warning: {verifier.unanswered} answers took too long to check and count as wrong",
            err=True,
        )

"""`rstitch calibrate`: which tau suits a pair and one's prompts, as a card that --pair reads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped
from rstitch.errors import BadRequest
from rstitch.types import Sampling
from rstitch.units import nats

if TYPE_CHECKING:
    from rstitch.evals.calibration.choice import Choice, Wanted
    from rstitch.evals.calibration.curve import Curve
    from rstitch.evals.calibration.plan import Bound, Plan
    from rstitch.evals.calibration.prompts import Prompts

MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What tau is chosen for."""

    share: Annotated[
        float | None, typer.Option(help="Wanted: this LLM share of the tokens, 0 to 1.")
    ] = None
    speedup: Annotated[
        float | None, typer.Option(help="Wanted: so many times as fast as the LLM alone.")
    ] = None
    agreement: Annotated[
        float | None, typer.Option(help="Wanted: the LLM's own answer on this share of prompts.")
    ] = None
    within: Annotated[
        float | None,
        typer.Option(
            help="With answers: the loss of accuracy against the LLM that is shown not to be "
            "reached, as a share of prompts; 0.01 if left out.",
        ),
    ] = None
    confidence: Annotated[
        float | None, typer.Option(help="With answers: of what is shown; 0.95 if left out.")
    ] = None
    fallback: Annotated[
        bool,
        typer.Option("--fallback", help="Where no tau will do, a card of the LLM alone (tau -1)."),
    ] = False

    def wanted(self) -> Wanted:
        from rstitch.evals.calibration.choice import Wanted

        return Wanted(self.share, self.speedup, self.agreement)

    def bound(self, prompts: Prompts) -> Bound | None:
        """What is to be shown: with answers, unless something else is wanted."""
        from rstitch.evals.calibration.plan import Bound

        given = options.given(within=self.within, confidence=self.confidence)
        other = self.wanted().any
        for name, value in given.items():
            if not prompts.labelled:
                raise BadRequest(
                    f"--{name} {value:g} needs answers, which {prompts.name} has not: give JSON "
                    "lines with 'answer', or say --agreement"
                )
            if other:
                raise BadRequest(f"--{name} {value:g} is a wish of its own; leave out the other")
        return Bound(**given) if prompts.labelled and not other else None


@grouped
def calibrate(
    prompts: Annotated[
        str,
        typer.Option(
            help="A text file with one prompt a line, a path.jsonl of {id, problem, answer} (all "
            "may lack the answer), or a task of rstitch eval, such as dev.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The card to write, a .toml file that --pair reads.")],
    opening: options.Opening,
    tuning: options.Tuning,
    wishes: Wishes,
    taus: Annotated[
        str | None,
        typer.Option(help="Those to try: 0.005,0.02,0.05; may be in nats: 0.24nats."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Time for all of it, loading too; 10 if left out, or with answers and no other "
            "wish as long as it takes.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Directory of what is finished; OUT with .run for .toml if left out."),
    ] = None,
    problems: evaluating.Problems = None,
    seed: evaluating.Seed = 0,
    max_tokens: evaluating.MaxTokens = 512,
    temperature: evaluating.Temperature = None,
    top_p: evaluating.TopP = None,
    compile: options.Compile = False,
    max_rows: options.MaxRows = options.DEFAULTS.max_rows,
    as_json: options.Json = False,
) -> None:
    """Choose tau on one's own prompts: LLM share, speed and agreement of several, or with answers
    the fastest that is shown to be as accurate as the LLM."""
    started = time.perf_counter()
    from rstitch.evals import directory
    from rstitch.evals.calibration import card

    wanted = wishes.wanted()
    card.check(out)
    run = run or out.with_suffix(".run")
    directory.check(run)
    chosen, given = _prompts(prompts, problems), options.given(temperature=temperature, top_p=top_p)
    numbers = _taus(taus)
    plan = _plan(
        chosen, wishes.bound(chosen), numbers, minutes,
        sampling=Sampling(**given), max_tokens=max_tokens, seed=seed,
    )  # fmt: skip
    settings = {"compile": compile, "max_rows": max_rows, **tuning.settings()}
    plan, curve = _measured(plan, numbers, given, run, started, opening, settings)
    _print(curve, as_json, out)
    choice = _pick(curve, wanted, wishes.fallback, run)
    _write(plan, curve, choice, run, out, opening)
    if as_json:
        told = {"card": str(out), "run": str(run), **asdict(choice), **asdict(curve)}
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"\n{choice.why}\n{out} holds it: rstitch generate --pair {out} ...")


def _prompts(name: str, problems: int | None) -> Prompts:
    from rstitch.evals.calibration import prompts
    from rstitch.pairs.recipe.splits import spread

    found = prompts.read(name)
    return replace(found, problems=tuple(spread(found.problems, problems or len(found.problems))))


def _taus(text: str | None) -> list[float | str]:
    from rstitch.evals.calibration.plan import TAUS

    if text is None:
        return list(TAUS)
    found = [one.strip() for one in text.split(",") if one.strip()]
    return [one if nats(one) is not None else _number(one) for one in found]


def _number(text: str) -> float:
    value = options.number("--taus", text, also=", or 0.24nats")
    assert value is not None
    return value


def _plan(
    prompts: Prompts, bound: Bound | None, taus: Sequence[float | str], minutes: float | None,
    **rest: Any,
) -> Plan:  # fmt: skip
    """taus in nats are looked at when the pair is there."""
    from rstitch.evals import verify
    from rstitch.evals.calibration.plan import Plan

    if prompts.task is not None and prompts.task.needs_verifier:
        verify.check()
    if minutes is None and bound is None:
        minutes = MINUTES
    known = tuple(one for one in taus if isinstance(one, float)) or (0.0,) * bool(taus)
    return Plan(prompts, known, minutes=minutes, bound=bound, **rest)


def _measured(
    plan: Plan,
    taus: Sequence[float | str],
    sampling: dict[str, Any],
    run: Path,
    started: float,
    opening: options.Opening,
    settings: dict[str, Any],
) -> tuple[Plan, Curve]:
    from rstitch.evals import verify
    from rstitch.evals.calibration.run import calibrate

    comparer = verify.Verifier if verify.is_installed() else verify.Plainly
    if comparer is verify.Plainly:
        typer.echo("math-verify is not installed: answers are compared as text", err=True)
    with opening.open(**settings) as stitch, comparer() as verifier:
        plan = replace(
            plan,
            taus=tuple(stitch.normalised(tau) for tau in taus),
            sampling=replace(stitch.defaults.sampling, **sampling),
        )
        with evaluating.progress() as tell:
            return plan, calibrate(stitch, plan, run, verifier, tell, started)


def _print(curve: Curve, as_json: bool, out: Path) -> None:
    from rstitch.cli.curved import lines

    if not as_json:
        typer.echo("\n".join(lines(curve)))
    for line in curve.left_out:
        typer.echo(f"left out: {line}", err=True)
    if curve.unread:
        typer.echo(
            f"warning: to {curve.unread} of {curve.llm.n} prompts the LLM gives no final answer; "
            "their whole texts are compared, of which few are the same",
            err=True,
        )
    if curve.truncated:
        typer.echo(
            f"warning: --max-tokens cut off {curve.truncated} of {curve.llm.n} answers of the LLM",
            err=True,
        )


def _pick(curve: Curve, wanted: Wanted, fallback: bool, run: Path) -> Choice:
    from rstitch.evals.calibration.choice import pick

    try:
        return pick(curve, wanted, fallback=fallback)
    except BadRequest as error:
        raise BadRequest(f"{error}; no card is written ({run} keeps the answers)") from error


def _write(
    plan: Plan,
    curve: Curve,
    choice: Choice,
    run: Path,
    out: Path,
    opening: options.Opening,
) -> None:
    from rstitch.evals import directory
    from rstitch.evals.calibration import card
    from rstitch.pairs.chosen import choose

    asked = directory.read_config(run)["asked"]
    card.write(
        out,
        card.content(
            choose(opening.pair, opening.slm, opening.llm), plan, curve, choice, asked, out.parent
        ),
    )

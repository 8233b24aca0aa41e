"""`rstitch profile`: what every pass costs here, saved for later runs; and whether that holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped
from rstitch.errors import BadRequest
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.latency.check import Verdict
    from rstitch.latency.costs import PassCosts
    from rstitch.latency.measure import Measuring
    from rstitch.latency.recorded import Recorded

CONTEXT, ANSWERS, SECONDS = 1024, 200, 30.0


@grouped
def profile(
    opening: options.Opening,
    out: Annotated[
        Path | None, typer.Argument(help="JSON file to write, for --profile and plan.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="A run or a trace file: replay its answers and compare with the price."),
    ] = None,
    answers: Annotated[int, typer.Option(min=1, help="To replay at most.")] = ANSWERS,
    context: Annotated[int, typer.Option(min=4, help="Longest context to measure.")] = CONTEXT,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time for measuring; what does not fit is left out.")
    ] = SECONDS,
    max_rows: options.MaxRows = options.DEFAULTS.max_rows,
    profile: Annotated[
        str | None, typer.Option(help="With --check: this profile, nothing is measured.")
    ] = None,
    compile: options.Compile = False,
    kv_memory: options.KVMemory = options.DEFAULTS.kv_memory,
    as_json: options.Json = False,
) -> None:
    """Measure prefill and decode of each model over tokens, contexts and rows; save the fit."""
    _asked(out, check, profile)
    from rstitch.latency import recorded

    found = recorded.read(check, answers) if check else []
    with opening.open(
        compile=compile, kv_memory=kv_memory, max_rows=max_rows, profile=profile
    ) as stitch:
        told: Verdict | None
        if profile:
            told = _against(stitch, Path(profile), found)
        else:
            told = _measured(stitch, out, found, opening.pair, context, seconds)
    if as_json:
        typer.echo(json.dumps({**asdict(told), "holds": told.holds} if told is not None else None))
    elif told is not None:
        typer.echo("\n".join(lines(told)))


def _asked(out: Path | None, check: Path | None, profile: str | None) -> None:
    if profile and check is None:
        raise BadRequest(f"--profile {profile} needs --check with a run or traces to replay")
    if out is None and check is None:
        raise BadRequest("give a file to write, or --check with a run or traces to replay")
    if profile and out:
        raise BadRequest(f"--profile {profile} is checked as it is; leave out {out}")
    if out and out.is_dir():
        raise BadRequest(f"profile {out} cannot be written: it is a directory")
    if out and not out.absolute().parent.is_dir():
        raise BadRequest(f"profile {out} cannot be written: No such file or directory")


def _against(stitch: Stitch, path: Path, found: list[Recorded]) -> Verdict:
    from rstitch.latency import check, profile

    costs = profile.load(path).costs
    with evaluating.progress() as tell:
        return check.verdict(check.against(stitch.in_process, costs, found, tell))


def _measured(
    stitch: Stitch,
    out: Path | None,
    found: list[Recorded],
    pair: str,
    context: int,
    seconds: float,
) -> Verdict | None:
    from rstitch.latency import check
    from rstitch.latency.measure import Measuring

    engine = stitch.in_process
    measuring = Measuring(engine, engine.config.max_rows, context, seconds)
    with evaluating.progress() as tell:
        costs, checked = check.measured(measuring, found, tell=tell)
    if out:
        save(stitch, out, pair, measuring, costs)
    tell_costs(costs, measuring)
    return check.verdict(checked) if checked else None


def save(stitch: Stitch, out: Path, pair: str, measuring: Measuring, costs: PassCosts) -> None:
    from rstitch.latency import profile

    models = {side.label: model.source for side, model in stitch.models.items()}
    about = profile.about(asdict(stitch.engine.config), pair, models)
    profile.save(out, profile.Profile(costs, about, measuring.table()))


def tell_costs(costs: PassCosts, measuring: Measuring) -> None:
    """How good the fit is, what was left out, and last a line for each side; on stderr."""
    for side in Side:
        for kind, form in costs.forms[side].items():
            error = form.error
            off = f"{error.median:.1%} off (p95 {error.p95:.0%})" if error else "error unknown"
            reach = f"up to {form.limits.rows} rows, {form.limits.longest} tokens"
            typer.echo(
                f"{side.name} {kind}: {form.points} points {reach}; held out, {off}", err=True
            )
    if measuring.left_out:
        first = measuring.left_out[0]
        typer.echo(
            f"{len(measuring.left_out)} points are left out for want of time, from {first.rows} "
            f"rows after {first.cached} tokens on; give more --seconds",
            err=True,
        )
    line = costs.line(measuring.rows)
    for side in Side:
        one, more = line.seconds(side, 1), line.per_row[side]
        typer.echo(
            f"{side.name}: {1e3 * one:.2f} ms a step with one row, {1e3 * more:.2f} ms more a row",
            err=True,
        )


def lines(told: Verdict) -> list[str]:
    """What the check says, for people."""
    found = [
        f"{told.answers} answers, passes priced and replayed twice: median {told.predicted:.3g} s "
        f"priced, {told.measured:.3g} s measured",
        f"noise floor (two replays of one answer): {told.floor:.1%}",
        f"error: median {told.median:.1%} (allowed {told.allowed:.1%}), p95 {told.p95:.1%} "
        f"(allowed 15%), in sum {told.bias:+.1%}",
        "the prices hold" if told.holds else "the prices do NOT hold",
    ]
    if told.outside:
        found.append(f"{told.outside} answers have passes outside the measured grid")
    return found

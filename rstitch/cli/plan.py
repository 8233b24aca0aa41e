"""`rstitch plan`: what stitching brings on this machine, by tau, concurrency and hardware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped
from rstitch.errors import BadRequest

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.latency.costs import PassCosts
    from rstitch.latency.profile import Profile
    from rstitch.latency.recorded import Recorded

SECONDS, CONTEXT = 30.0, 1024


@grouped
def plan(
    opening: options.Opening,
    traces: Annotated[
        Path | None,
        typer.Option(help="A run (eval, sweep, record) or a trace file; written now if left out."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Of rstitch profile; measured now if left out.")
    ] = None,
    in_flight: Annotated[str, typer.Option(help="Answers at once: 1,4,16.")] = "1,2,4,8,16,32",
    taus: Annotated[
        str | None,
        typer.Option(help="Those to write answers with; around the pair's own if left out."),
    ] = None,
    problems: Annotated[int, typer.Option(min=1, help="To write, without --traces.")] = 24,
    max_tokens: evaluating.MaxTokens = 512,
    seconds: Annotated[float, typer.Option(min=0.1, help="For measuring a profile.")] = SECONDS,
    compile: options.Compile = False,
    kv_memory: options.KVMemory = options.DEFAULTS.kv_memory,
    as_json: options.Json = False,
) -> None:
    """Price recorded answers and simulate many in flight: which tau, at which concurrency stitching
    stops paying, and what two devices, a larger LLM or a thousand replicas change."""
    levels, given = _levels(in_flight), _taus(taus)
    if traces and given:
        raise BadRequest(f"--taus {taus} are for answers to be written; leave out --traces")
    from rstitch.latency import plan as planning
    from rstitch.latency import profile as profiles
    from rstitch.latency import recorded, replicas

    found = recorded.read(traces) if traces else []
    known = profiles.load(profile) if profile else None
    tau: float | None = None
    costs = known.costs if known else None
    with evaluating.progress() as tell:
        if not found or costs is None:
            with opening.open(compile=compile, kv_memory=kv_memory, max_rows=max(levels)) as stitch:
                tau = stitch.tau
                found = found or _written(stitch, given, problems, max_tokens, tell)
                costs = costs or _measured(stitch, seconds, tell)
        if profile and known:
            _warn(profile, known, found)
        made = planning.plan(found, costs, levels, tau, tell)
    fleets = replicas.fleet(made.levels)
    from rstitch.cli import planned

    if as_json:
        typer.echo(json.dumps(planned.as_json(made, fleets)))
    else:
        typer.echo("\n".join(planned.lines(made, fleets)))


def _levels(text: str) -> list[int]:
    found = [one.strip() for one in text.split(",") if one.strip()]
    for one in found:
        if not (one.isascii() and one.isdecimal() and int(one)):
            raise BadRequest(f"--in-flight has {one!r}; write whole numbers from 1 on: 1,4,16")
    if not found:
        raise BadRequest(f"--in-flight is {text!r}; write whole numbers from 1 on: 1,4,16")
    return sorted({int(one) for one in found})


def _taus(text: str | None) -> list[float]:
    found = [one.strip() for one in (text or "").split(",") if one.strip()]
    if text is not None and not found:
        raise BadRequest(f"--taus is {text!r}; write numbers: 0.01,0.03,0.1")
    numbers = [options.number("--taus", one) or 0.0 for one in found]
    for value in numbers:
        if not 0 <= value < 1:
            raise BadRequest(f"--taus has {value:g}; a tau that stitches is from 0 on, below 1")
    return list(dict.fromkeys(numbers))


def _written(
    stitch: Stitch, taus: list[float], problems: int, max_tokens: int, tell: Any
) -> list[Recorded]:
    from rstitch.latency import gather

    chosen = taus or gather.taus_around(stitch.tau)
    return gather.gather(stitch, chosen, problems, max_tokens, tell)


def _measured(stitch: Stitch, seconds: float, tell: Any) -> PassCosts:
    from rstitch.latency.measure import Measuring

    measuring = Measuring(stitch.in_process, stitch.engine.config.max_rows, CONTEXT, seconds)
    for _ in range(measuring.rounds):
        measuring.round(tell)
    return measuring.costs()


def _warn(path: Path, known: Profile, found: list[Recorded]) -> None:
    from rstitch.latency import profile

    line = profile.elsewhere(path)
    if line:
        typer.echo(f"warning: {line}", err=True)
    theirs, ours = found[0].trace.models, known.about["models"]
    for side in sorted(set(theirs) & set(ours)):
        if Path(theirs[side]).name != Path(ours[side]).name:
            typer.echo(
                f"warning: the traces are of the {side.upper()} {theirs[side]}, profile {path} of "
                f"{ours[side]}",
                err=True,
            )

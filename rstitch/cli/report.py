"""`rstitch report`: runs as a page, pictures, a card; a card checked; the paper's own table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import options
from rstitch.errors import BadRequest

if TYPE_CHECKING:
    from rstitch.report.loaded import Loaded

TRACES = 40


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="--out directories of eval, compare, sweep, record."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page, such as report.html.")] = None,
    png: Annotated[Path | None, typer.Option(help="Directory for the figures as PNG.")] = None,
    traces: Annotated[
        int, typer.Option(min=0, help="Answers of each table that the page shows token by token.")
    ] = TRACES,
    card: Annotated[
        Path | None, typer.Option(help="Write a run card, which --verify can check.")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(help="Recompute a run card from the runs; those it names if none are given."),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="The paper's own table, and where it contradicts itself."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """One self-contained page from run directories; a run card, and its verification."""
    given = list(runs or [])
    _check(given, out, png, card, verify, paper)
    if paper:
        _paper(out, png, as_json)
    elif verify is not None:
        _verify(verify, given, as_json)
    else:
        _report(given, out, png, traces, card, as_json)


def _check(
    runs: Sequence[Path],
    out: Path | None,
    png: Path | None,
    card: Path | None,
    verify: Path | None,
    paper: bool,
) -> None:
    """What was asked for fits together, and can be written; before anything is read."""
    made = {"--out": out, "--png": png, "--card": card}
    if paper and (runs or card or verify):
        raise BadRequest("--paper draws the paper's table; leave out runs, --card and --verify")
    if verify and any(made.values()):
        name = next(name for name, path in made.items() if path)
        raise BadRequest(f"--verify writes nothing; leave out {name}, or give it by itself")
    if not (paper or verify or runs):
        raise BadRequest("no run is named; give the --out directory of an evaluation, or --paper")
    if not (paper or verify or any(made.values())):
        raise BadRequest("say what to make: --out report.html, --png DIR or --card card.json")
    from rstitch.report import written

    if out:
        written.check("--out", out, written.PAGE)
    if card:
        written.check("--card", card, written.CARD)
    if png:
        from rstitch.report.draw.png import check

        check()
        written.directory("--png", png)


def _report(
    runs: Sequence[Path],
    out: Path | None,
    png: Path | None,
    traces: int,
    card: Path | None,
    as_json: bool,
) -> None:
    from rstitch.cli.evaluating import progress
    from rstitch.report import written
    from rstitch.report.card import make_card
    from rstitch.report.claim import claims
    from rstitch.report.loaded import load
    from rstitch.report.page import page
    from rstitch.report.sections import sections

    with progress() as tell:
        loaded = []
        for path in runs:
            loaded.append(load(path))
            tell("reading runs", len(loaded), len(runs))
    parts, made = sections(loaded), []
    if card:
        written.save("--card", card, json.dumps(make_card(runs, card.parent), indent=1) + "\n")
        made.append(card)
    if png:
        made += _pictures(parts, png)
    if out:
        written.save("--out", out, page(parts, traces))
        made.append(out)
    told = [one.sentence() for part in parts for one in claims(part.config, part.table)]
    warnings = [warning for part in parts for warning in part.table.warnings]
    if as_json:
        typer.echo(json.dumps({"made": list(map(str, made)), "claims": told, "warnings": warnings}))
        return
    for line in told:
        typer.echo(line)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    for path in made:
        typer.echo(f"wrote {path}", err=True)


def _pictures(parts: Sequence[Loaded], to: Path) -> list[Path]:
    from rstitch.report import written
    from rstitch.report.page import WIDE, figures, of_analysis

    made = []
    for number, part in enumerate(parts):
        before = f"{number + 1}-" if len(parts) > 1 else ""
        for figure in [*figures(part), *of_analysis(part)]:
            path = to / f"{before}{figure.file}.png"
            written.picture("--png", path, figure.at(WIDE))
            made.append(path)
    return made


def _verify(card: Path, runs: Sequence[Path], as_json: bool) -> None:
    from rstitch.cli.evaluating import progress
    from rstitch.report import card as cards

    said = cards.read(card)
    runs = runs or cards.named(said, card)
    with progress() as tell:
        found = cards.verified(said, runs, tell)
    if as_json:
        told: dict[str, Any] = {
            "card": str(card), "differences": found.differences, "on trust": found.notes,
            "records": found.records, "traces": found.traces,
        }  # fmt: skip
        typer.echo(json.dumps(told))
    elif found.differences:
        more = len(found.differences) - 1
        typer.echo(f"{card}: NOT reproduced: {found.differences[0]}")
        for line in found.differences[1:NAMED]:
            typer.echo(f"  also {line}")
        if more >= NAMED:
            typer.echo(f"  and {more - NAMED + 1} more")
    else:
        typer.echo(f"{card}: reproduced from {found.records} records and {found.traces} traces")
    for what, times in found.notes.items():
        typer.echo(f"on trust, {times} times: {what}", err=True)
    if found.differences:
        raise typer.Exit(1)


NAMED = 5
"""Differences that are named; the rest is counted."""


def _paper(out: Path | None, png: Path | None, as_json: bool) -> None:
    from rstitch.paper import table
    from rstitch.report import written
    from rstitch.report.paper import said
    from rstitch.report.paper.drawn import figures, page

    cells = table.read()
    if out:
        written.save("--out", out, page(cells))
    if png:
        for name, scene in figures(cells):
            written.picture("--png", png / f"{name}.png", scene)
    if as_json:
        typer.echo(json.dumps(said.as_json(cells)))
    else:
        typer.echo("\n".join(said.lines(cells)))
    for path in [*([out] if out else []), *([png] if png else [])]:
        typer.echo(f"wrote {path}", err=True)

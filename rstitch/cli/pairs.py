"""`rstitch pairs`: the pairs that have a name, and what is known of each."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from rstitch.cli import options
from rstitch.pairs import Preset, SidePreset, names, preset

NOTE = (
    "measured: tau was chosen by measuring the pair with rstitch. checked: `rstitch check` has "
    "passed on the published files. Neither: taken from the paper or the models' pages."
)


def pairs(
    name: Annotated[
        str | None, typer.Argument(help="One pair, or its TOML file, in full; all if left out.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the named pairs; `--pair NAME` chooses one."""
    chosen = [preset(one) for one in ([name] if name else names())]
    if as_json:
        found = [asdict(one) for one in chosen]
        typer.echo(json.dumps(found[0] if name else found))
    elif name:
        _one(chosen[0])
    else:
        _table(chosen)


def _table(chosen: list[Preset]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="pairs")
    for column in ("name", "SLM", "LLM", "tau", "measured", "checked"):
        shown.add_column(column, overflow="fold")
    for one in chosen:
        yes = {True: "yes", False: "no"}
        marks = (yes[one.measured], yes[one.checked])
        shown.add_row(one.name, _short(one.slm), _short(one.llm), _tau(one), *marks)
    Console(highlight=False).print(shown)
    Console(stderr=True, highlight=False).print(NOTE, style="dim")


def _one(one: Preset) -> None:
    lines = {"name": one.name, "tau": _tau(one), "measured": one.measured, "checked": one.checked}
    if one.sampling is not None:
        values = {k: v for k, v in asdict(one.sampling).items() if k != "seed"}
        lines["sampling"] = ", ".join(f"{name} {value:g}" for name, value in values.items())
    if one.note:
        lines["note"] = one.note
    for label, side in (("SLM", one.slm), ("LLM", one.llm)):
        lines[label] = side.source
        lines[f"{label} revision"] = side.revision or "not pinned"
        lines[f"{label} licence"] = side.licence or "not known here; see the model's page"
        for key, value in (("suffix", side.suffix), *side.special_tokens.items()):
            if value:
                lines[f"{label} {key}"] = value
    for key, value in lines.items():
        typer.echo(f"{key}: {value}")


def _short(side: SidePreset) -> str:
    return side.id or "in the package"


def _tau(one: Preset) -> str:
    return "none" if one.tau is None else str(one.tau)

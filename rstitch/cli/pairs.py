"""`rstitch pairs`: the pairs that have a name, and what is known of each."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from rstitch.cli import options
from rstitch.defaults import told
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
    yes = {True: "yes", False: "no"}
    rows = [("name", "tau", "measured", "checked", "SLM", "LLM")]
    for one in chosen:
        marks = (yes[one.measured], yes[one.checked])
        rows.append((one.name, _tau(one), *marks, _short(one.slm), _short(one.llm)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
    typer.echo(NOTE, err=True)


def _one(one: Preset) -> None:
    lines: dict[str, object] = {
        "name": one.name,
        "tau": _tau(one),
        "measured": one.measured,
        "checked": one.checked,
    }
    if one.sampling is not None:
        values = {k: v for k, v in one.sampling.as_dict().items() if k != "seed"}
        lines["sampling"] = ", ".join(told(name, value) for name, value in values.items())
    if one.note:
        lines["note"] = one.note
    if one.calibration is not None:
        about = one.calibration
        lines["calibration"] = f"{about.get('date')}, {about.get('n')} of {about.get('prompts')}"
    for label, side in (("SLM", one.slm), ("LLM", one.llm)):
        lines[label] = side.source
        if side.gguf:
            lines[f"{label} GGUF"] = f"{side.gguf} ({side.gguf_revision or 'not pinned'})"
        lines[f"{label} revision"] = side.revision or "not pinned"
        lines[f"{label} licence"] = side.licence or "not known here; see the model's page"
        if side.suffix:
            lines[f"{label} suffix"] = side.suffix
        lines.update({f"{label} {role}": token for role, token in side.special_tokens.items()})
    for name, said in lines.items():
        typer.echo(f"{name}: {said}")


def _short(side: SidePreset) -> str:
    return side.id or "in the package"


def _tau(one: Preset) -> str:
    return "none" if one.tau is None else str(one.tau)

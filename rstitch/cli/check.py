"""`rstitch check`: do two models fit each other and this machine? No weights are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch.cli import options
from rstitch.errors import BadPair, BadRequest

if TYPE_CHECKING:
    from rstitch.pairs.check import Report, SideReport


def check(
    slm: Annotated[str | None, typer.Argument(help="Small model: a directory or hub id.")] = None,
    llm: Annotated[str | None, typer.Argument(help="Large model: a directory or hub id.")] = None,
    pair: Annotated[
        str | None,
        typer.Option(help="A named pair or its TOML file; models given too replace its own."),
    ] = None,
    slm_suffix: options.SlmSuffix = None,
    llm_suffix: options.LlmSuffix = None,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
    engine: options.Engine = options.DEFAULTS.engine,
    kv_type: options.KVType = options.DEFAULTS.kv_type,
    as_json: options.Json = False,
) -> None:
    """Tokenizers, templates, special tokens and memory of a pair, from its headers alone."""
    if pair is None and (slm is None or llm is None):
        raise BadRequest("give an SLM and an LLM, or --pair NAME")
    from rstitch.config import EngineConfig
    from rstitch.pairs import calibrated, models
    from rstitch.pairs import check as checker
    from rstitch.pairs.chosen import choose

    config = EngineConfig(dtype=dtype, device=device, engine=engine, kv_type=kv_type)  # type: ignore[arg-type]
    known = choose(pair or "builtin", slm, llm)
    models.check_machine(known, config)
    calibrated.check(known)
    suffixes = checker.suffixes_of(known, options.suffix(slm_suffix, llm_suffix))
    report = checker.examine(checker.read_pair(known, config), config, suffixes)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        _print(report)
    if report.problems:
        raise BadPair("; ".join(report.problems))


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(show_header=True)
    shown.add_column("")
    for label, side in (("SLM", report.slm), ("LLM", report.llm)):
        shown.add_column(f"{label} {side.source}", overflow="fold")
    rows = zip(_lines(report.slm).items(), _lines(report.llm).values(), strict=True)
    for (name, ours), theirs in rows:
        shown.add_row(name, ours, theirs)
    Console(highlight=False).print(shown, markup=False)
    for text in _about_both(report):
        typer.echo(text)


def _lines(side: SideReport) -> dict[str, str]:
    roles = ", ".join(f"{role} {token}" for role, token in side.special_tokens.items())
    template = "opens the thinking" if side.opens_thinking else "yes"
    return {
        "model": f"{side.model_type}, {side.layers} layers, context {side.context}",
        "tokens": str(side.tokens),
        "special tokens": roles or "none known",
        "chat template": template if side.template else "none",
        "weights": f"{size(side.loaded_bytes)} ({size(side.stored_bytes)} stored)",
        "KV per token": size(side.kv_bytes_per_token),
    }


def _about_both(report: Report) -> list[str]:
    lines = []
    for label, moved in report.translated.items():
        if moved:
            lines.append(f"the {label.upper()}'s tokens under another id: {', '.join(moved)}")
    for label, lost in report.without_partner.items():
        if lost:
            names = ", ".join(lost)
            lines.append(f"the {label.upper()}'s tokens without a partner, refused: {names}")
    needed = report.slm.loaded_bytes + report.llm.loaded_bytes
    lines.append(
        f"memory ({report.device}): {size(report.memory.free)} free of "
        f"{size(report.memory.total)}, weights take {size(needed)} in {report.dtype}"
    )
    if not report.problems:
        fits = ", ".join(f"{count} of {length} tokens" for length, count in report.answers.items())
        lines.append(f"answers that fit at once, at most: {fits}")
    lines += [f"note: {note}" for note in report.notes]
    return lines if report.problems else [*lines, "these two can be stitched here"]


def size(nbytes: int) -> str:
    """Bytes for people, in powers of 1,024."""
    value, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"

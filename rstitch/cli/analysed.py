"""An analysis as plain text, every entropy in both units."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rstitch.cli.tabled import aligned

if TYPE_CHECKING:
    from rstitch.evals.analysis.entropy import Answers, Entropies
    from rstitch.evals.analysis.harm import Harm, Sense
    from rstitch.evals.analysis.speculation import Speculation
    from rstitch.evals.analysis.whole import Analysis

NAMED = 10
"""Problems that are named; the rest is counted."""


def show(
    recording: Path, *, run: Path | None = None, tau: float | str | None = None, as_json: bool
) -> None:
    """Analyse a recording, keep that beside its records, and print it."""
    from rstitch.errors import BadRequest
    from rstitch.evals.analysis import recording as records
    from rstitch.evals.analysis.speculation import speculation
    from rstitch.evals.analysis.whole import analyse, write
    from rstitch.units import normalised

    given = records.read(recording)
    bound = None if tau is None else normalised(tau, given.vocabulary)
    if isinstance(bound, str):
        raise BadRequest(f"--tau is {bound!r}; it must be a number such as 0.02, or 0.24nats")
    found = analyse(given, bound, speculation(given, run) if run else None)
    write(found, recording)
    if as_json:
        typer.echo(json.dumps({"recording": str(recording), **found.as_dict()}))
    else:
        typer.echo("\n".join(lines(found)))


def lines(found: Analysis) -> list[str]:
    """Sections with a blank line between; what was not recorded is left out."""
    unit = _Unit(found.vocabulary)
    told = f"tau {unit(found.tau)}; entropies are normalised (ln {found.vocabulary} nats each)"
    sections = [[told], [*_methods(found)]]
    if found.entropy:
        sections.append([*_entropy(found.entropy, unit)])
    sections.append([*_together(found)])
    if found.harm:
        sections.append([*_harm(found.harm, unit)])
    if found.speculation:
        sections.append([*_speculation(found.speculation)])
    return "\n\n".join("\n".join(section) for section in sections if section).split("\n")


class _Unit:
    """An entropy as text, normalised and in nats."""

    def __init__(self, vocabulary: int) -> None:
        self.nats = math.log(vocabulary)

    def __call__(self, value: float | None) -> str:
        return "" if value is None else f"{value:.4g} ({value * self.nats:.3g} nats)"


def _methods(found: Analysis) -> list[str]:
    rows = [["", "answers", "right %", "tokens"]]
    for label, one in found.methods.items():
        right = f"{100 * one.right / one.answers:.1f}" if one.answers else ""
        rows.append([label, str(one.answers), right, f"{one.tokens:.1f}"])
    return aligned(rows)


def _entropy(found: Entropies, unit: _Unit) -> list[str]:
    head = ["entropy on its own text", "mean", "right answers, median", "wrong, median"]
    rows = [[*head, "> 0.1 nats %", "> tau %"]]
    for name, one in (("slm", found.slm), ("llm", found.llm)):
        if one:
            rows.append([
                name, unit(one.mean), unit(_median(one.right)), unit(_median(one.wrong)),
                f"{100 * one.above['0.1nats']:.2f}", f"{100 * one.above['tau']:.2f}",
            ])  # fmt: skip
    return aligned(rows)


def _median(answers: Answers | None) -> float | None:
    return answers.median if answers else None


def _together(found: Analysis) -> Iterator[str]:
    length, agree, lost = found.lengths, found.agreement, found.overwritten
    if length and length.ratio:
        yield (
            f"length where both are right ({length.both_right}): slm {length.slm:.1f} tokens, "
            f"llm {length.llm:.1f}, {length.ratio:.2f}x"
        )
    shares = {"llm": agree.on_llm_text, "slm": agree.on_slm_text} if agree else {}
    for text, share in shares.items():
        if share is not None:
            yield f"same next token, on the {text}'s text: {100 * share:.2f} %"
    if lost:
        yield f"right by the slm alone, wrong when stitched: {lost.n}{_named(lost.problems)}"


def _named(problems: list[str]) -> str:
    if not problems:
        return ""
    return f" ({', '.join(problems[:NAMED])}{', ...' if len(problems) > NAMED else ''})"


def _harm(found: Harm, unit: _Unit) -> Iterator[str]:
    yield f"harmful tokens in {found.wrong} wrong answers of the slm"
    if found.cut:
        yield f"{found.cut} of these are searched at their beginning only: their scores end early"
    yield "h1: with the llm's token there instead, the slm by itself gets it right"
    yield "h2: before it the llm could have got it right, after it no longer"
    rows = [["", "found", "silent (H <= tau) %", "95 %", "controls", "in right answers"]]
    for name, one in (("h1", found.h1), ("h2", found.h2)):
        low, high = one.interval
        silent = "" if one.silent is None else f"{100 * one.silent:.1f}"
        within = "" if one.silent is None else f"{100 * low:.1f} to {100 * high:.1f}"
        rows.append(
            [name, str(one.found), silent, within, str(one.controls), str(one.controls_right)]
        )
    yield from aligned(rows)
    yield ""
    yield f"slm entropy there; over all its text {unit(found.h1.overall_mean)}"
    for name, one in (("h1", found.h1), ("h2", found.h2)):
        if one.found:
            yield from _windows(name, one, unit)


def _windows(name: str, one: Sense, unit: _Unit) -> list[str]:
    """Window 1 is the token itself."""
    rows = [[f"{name}, window", "mean before", "AUROC", "95 %", "mean around", "AUROC", "95 %"]]
    for size in one.auroc:
        rows.append([
            size, unit(one.mean_entropy[size]), *_area(one.auroc[size], one.auroc_interval[size]),
            unit(one.mean_around[size]), *_area(one.around[size], one.around_interval[size]),
        ])  # fmt: skip
    return aligned(rows)


def _area(area: float | None, interval: tuple[float, float] | None) -> list[str]:
    if area is None or interval is None:
        return ["", ""]
    return [f"{area:.3f}", f"{interval[0]:.3f} to {interval[1]:.3f}"]


def _speculation(found: Speculation) -> Iterator[str]:
    rho = "unknown" if found.rho is None else f"{found.rho:+.2f}"
    yield (
        f"speed-up of {found.method} ({found.run}) against agreement: Spearman's rho {rho} over "
        f"{len(found.pairs)} problems, of which {found.slower} are slower than the llm alone"
    )

"""A run card: what runs claim, small enough to publish, and checked again from their traces.

    {"version": 1,
     "runs": [{"path", "config_sha256", "records_sha256", "n"}],
     "table": [rows of `rstitch.evals.table`, rounded, with the section they stand in],
     "groups": {section: {level or subject: rows}},
     "claims": [{"section", "method", "against", "speed_up", "rate", "difference"}]}

`verify` makes the card anew and compares, and holds every record against its traces and its task
(`rstitch.report.recheck`), since a card made from an edited run would agree with it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstitch.errors import BadRun
from rstitch.evals import directory
from rstitch.evals.table import Row
from rstitch.pairs.hashes import digest
from rstitch.report.claim import claims
from rstitch.report.found import Found
from rstitch.report.loaded import Loaded, Tell, load, silent
from rstitch.report.recheck import recheck
from rstitch.report.sections import sections

VERSION = 1
DIGITS = 6
"""Significant digits of a number in a card."""
CLOSE = 2e-5
"""How far two numbers may be apart, relatively: rounding, and sums in another order."""


def make_card(runs: Sequence[Path], beside: Path | None = None) -> dict[str, Any]:
    """The card of these run directories. Raises BadRun for one that is none, or not finished.

    beside: the directory that the card will lie in, from which the runs are named.
    """
    loaded = [load(path) for path in runs]
    for one in loaded:
        _finished(one)
    parts = sections(loaded)
    return {
        "version": VERSION,
        "runs": [_run(one, beside) for one in loaded],
        "table": [row for i, part in enumerate(parts) for row in _rows(part.table.rows, section=i)],
        "groups": {
            str(i): {name: _rows(group.rows) for name, group in part.groups.items()}
            for i, part in enumerate(parts)
        },
        "claims": [claim for i, part in enumerate(parts) for claim in _claims(i, part)],
    }


def verify(card: Mapping[str, Any], runs: Sequence[Path]) -> list[str]:
    """What differs between the card and the runs, each in one line that begins with its key; none
    where all is as it says. Raises BadRun for what cannot be read."""
    return list(verified(card, runs).differences)


def verified(card: Mapping[str, Any], runs: Sequence[Path], tell: Tell = silent) -> Found:
    """As `verify`, with what had to be taken on trust. What an edit contradicts comes before the
    figures that it changed, and hashes come last."""
    found, given = Found(), _shape(card)
    if len(runs) != given:
        found.differences.append(f"runs: the card is of {given}, named are {len(runs)}")
        return found
    for number, path in enumerate(runs):
        one = recheck(path, load(path).config, tell)
        found.differences += [f"runs[{number}]: {line}" for line in one.differences]
        found.records, found.traces = found.records + one.records, found.traces + one.traces
        for what, times in one.notes.items():
            found.notes[what] = found.notes.get(what, 0) + times
    fresh = make_card(runs)
    for key in ("claims", "table", "groups", "runs"):
        found.differences += differing(card.get(key), fresh[key], key)
    return found


def read(path: Path) -> dict[str, Any]:
    """Raises BadRun for what is no card."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRun(f"--verify {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadRun(f"--verify {path} is no run card: {error}") from error
    try:
        _shape(card)
    except BadRun as error:
        raise BadRun(f"--verify {path}: {error}") from None
    assert isinstance(card, dict)
    return card


def named(card: Mapping[str, Any], at: Path) -> list[Path]:
    """The runs of a card, from where it lies."""
    return [at.parent / one["path"] for one in card["runs"]]


def differing(said: Any, due: Any, key: str) -> Iterator[str]:
    """A line for every value that is not the same; paths of runs may differ."""
    if isinstance(said, Mapping) and isinstance(due, Mapping):
        for name in dict.fromkeys([*due, *said]):
            if name != "path":
                yield from differing(said.get(name), due.get(name), f"{key}.{name}")
    elif isinstance(said, list) and isinstance(due, list):
        if len(said) != len(due):
            yield f"{key}: the card has {len(said)}, the runs make {len(due)}"
        for number, (one, other) in enumerate(zip(said, due, strict=False)):
            yield from differing(one, other, f"{key}[{number}]")
    elif not _same(said, due):
        yield f"{key}: the card says {json.dumps(said)}, the runs make {json.dumps(due)}"


def _same(said: Any, due: Any) -> bool:
    if isinstance(said, float) or isinstance(due, float):
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (said, due))
        return numbers and math.isclose(said, due, rel_tol=CLOSE, abs_tol=1e-12)
    return type(said) is type(due) and bool(said == due)


def _shape(card: Any) -> int:
    """How many runs a card is of."""
    if not isinstance(card, Mapping) or not isinstance(card.get("runs"), list):
        raise BadRun("this is no run card; make one with rstitch report RUN --card card.json")
    if not all(
        isinstance(one, Mapping) and isinstance(one.get("path"), str) for one in card["runs"]
    ):
        raise BadRun("its runs have no paths, so this is no run card; make it again")
    if card.get("version") != VERSION:
        raise BadRun(f"card of version {card.get('version')!r}, this rstitch reads {VERSION}")
    return len(card["runs"])


def _finished(run: Loaded) -> None:
    asked = run.asked
    due = asked["problems"] * asked["samples"]
    have = {row.method: row.answers for row in run.table.rows}
    short = [label for label in run.config["methods"] if have.get(label, 0) < due]
    if short:
        raise BadRun(
            f"{run.paths[0]} is not finished ({have.get(short[0], 0)} of {due} answers of "
            f"{short[0]}), so it has no card; give its command again"
        )


def _run(run: Loaded, beside: Path | None) -> dict[str, Any]:
    (path,) = run.paths
    return {
        "path": path.resolve().name if beside is None else os.path.relpath(path, beside),
        "config_sha256": digest(path / directory.CONFIG),
        "records_sha256": digest(path / directory.RECORDS),
        "n": sum(one["type"] == "answer" for one in run.records),
    }


def _rows(rows: Sequence[Row], **more: Any) -> list[dict[str, Any]]:
    return [{**more, **rounded(asdict(row))} for row in rows]


def _claims(section: int, run: Loaded) -> Iterator[dict[str, Any]]:
    for one in claims(run.config, run.table):
        told = rounded(asdict(one))
        yield {
            "section": section,
            "method": told["method"],
            "against": told["against"],
            "speed_up": told["speed"],
            "rate": told["rate"],
            "difference": told["comparison"],
        }


def rounded(value: Any) -> Any:
    """With few enough digits that two machines agree, as JSON has it: tuples become lists."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value

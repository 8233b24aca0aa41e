"""Runs as they are read for a report: configuration, counts, table; traces only where asked for.

A run that is not finished is read and says so in its table's warnings; what is no run, or has no
finished answer, is refused in one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch.errors import BadRun
from rstitch.evals import directory
from rstitch.evals.table import Table, groups, table
from rstitch.report import facts
from rstitch.report.figures.of_analysis import FIGURES

ANALYSIS = "analysis.json"
Cell = tuple[str, str, int]
"""(method, problem, sample)."""
Tell = Callable[[str, int, int], None]
"""(what is going on, how many of it are done, of how many)."""


def silent(what: str, done: int, total: int) -> None:
    """A Tell for nobody."""


@dataclass(frozen=True)
class Loaded:
    """One run, or several of one task that were merged."""

    paths: tuple[Path, ...]
    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    """Without traces."""
    table: Table
    groups: Mapping[str, Table]
    analysis: Mapping[str, Any] | None = None
    """Of a recording that was analysed."""

    @property
    def asked(self) -> Mapping[str, Any]:
        asked: Mapping[str, Any] = self.config["asked"]
        return asked

    @property
    def name(self) -> str:
        return ", ".join(dict.fromkeys(path.resolve().name for path in self.paths))


def load(path: Path) -> Loaded:
    """Raises BadRun for what is no run, holds no finished answer, or a line that is broken."""
    if not path.exists():
        raise BadRun(f"{path}: there is no such run; name the --out directory of an evaluation")
    config = directory.read_config(path)
    records = [directory.light(one) for one in directory.read_records(path)]
    if not any(one["type"] == "answer" for one in records):
        raise BadRun(f"{path} holds no finished answer yet; give the command of the run again")
    return built((path,), config, records, _analysis(path))


def built(
    paths: tuple[Path, ...],
    config: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    analysis: Mapping[str, Any] | None,
) -> Loaded:
    """With its tables. Raises BadRun where the records are of another kind of run."""
    try:
        made, parts = table(config, records), groups(config, records)
    except (LookupError, TypeError, ValueError) as error:
        raise BadRun(
            f"{paths[0]} cannot be read as a run ({error!r}); it was written by another version"
        ) from error
    if not made.rows:
        raise BadRun(f"{paths[0]} holds no answer of a method of its {directory.CONFIG}")
    return Loaded(paths, config, records, made, parts, analysis)


def whole(path: Path, wanted: Collection[Cell]) -> Iterator[Mapping[str, Any]]:
    """The records of these cells with their traces, one at a time."""
    for one in directory.read_records(path):
        if one["type"] == "answer" and (one["method"], one["problem"], one["sample"]) in wanted:
            yield one


def _analysis(path: Path) -> Mapping[str, Any] | None:
    file = path / ANALYSIS
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not an object")
        _tried(found)
    except OSError as error:
        raise BadRun(f"{file} cannot be read: {error.strerror}") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise BadRun(f"{file} cannot be read ({error!r}); write it again") from error
    return found


def _tried(found: Mapping[str, Any]) -> None:
    """Make all that a page makes of it, so that what is wrong is told before one is begun. Raises
    what comes of values that are missing, or of another kind."""
    facts.facts(found)
    for figure in FIGURES:
        figure.draw(found, 350.0)

"""The directory of a study: what was asked and settled, beside the evaluation runs.

    study.json     the study as asked, the probe, the study as settled, what was left out
    cells/NAME     one `rstitch eval` run each
    table.json     ours beside the paper's, when all is done
    card.json      the run card, which `rstitch report --verify` recomputes

A study given again goes on; another one is refused by the key that differs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch.errors import BadRun
from rstitch.evals import directory
from rstitch.evals.study import spec
from rstitch.evals.study.cells import Cell
from rstitch.evals.study.estimate import Owed, Probe
from rstitch.evals.study.spec import Study
from rstitch.files import replaced

VERSION = 1
STUDY, CELLS, TABLE, CARD = "study.json", "cells", "table.json", "card.json"
LOCK = f".{STUDY}.lock"


@dataclass(frozen=True, slots=True)
class Kept:
    """A study that was begun."""

    path: Path
    study: Study
    """As settled: what is run."""
    probe: Probe
    sizes: Mapping[str, int]
    """Problems of each task."""
    dropped: tuple[str, ...]
    """A line for everything that was left out to fit the hours."""

    def cell(self, name: str) -> Path:
        return self.path / CELLS / name


def check(path: Path) -> None:
    """Raise BadRun for a place where no study can be, before anything is loaded."""
    if (path / STUDY).is_file():
        return
    if path.is_dir() and any(not one.name.startswith(f".{STUDY}.") for one in path.iterdir()):
        raise BadRun(f"--out {path} holds files but no {STUDY}, so it is no study; name another")
    directory.writable(path)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Nobody else begins the study there, or goes on with it, meanwhile. Raises BadRun where
    another has it."""
    file = directory.claim(path, LOCK)
    try:
        yield
    finally:
        os.close(file)


def read(path: Path, asked: Mapping[str, Any] | None = None) -> Kept | None:
    """What is there; None where nothing is. Raises BadRun where it was begun as something else, or
    cannot be read."""
    file = path / STUDY
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}, this rstitch reads {VERSION}")
        probe: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content["probe"].items()
        }
        found = Kept(
            path,
            spec.from_dict(content["settled"], str(file)),
            Probe(**probe),
            content["sizes"],
            tuple(content["dropped"]),
        )
        before = content["asked"]
    except OSError as error:
        raise BadRun(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadRun(f"{file} cannot be read ({error}); name another directory") from error
    if asked is not None:
        _same(path, before, asked)
    return found


def _same(path: Path, before: Any, asked: Mapping[str, Any]) -> None:
    for key, was, now in directory.differing(before, json.loads(json.dumps(asked))):
        raise BadRun(
            f"--out {path} was begun with {key} = {json.dumps(was)}, now it is "
            f"{json.dumps(now)}; give the same to go on, or another directory"
        )


def keep(kept: Kept, asked: Mapping[str, Any]) -> None:
    """Begin a study. Raises BadRun where it cannot be written."""
    content = {
        "version": VERSION,
        "asked": dict(asked),
        "settled": kept.study.asdict(),
        "probe": kept.probe.asdict(),
        "sizes": dict(kept.sizes),
        "dropped": list(kept.dropped),
    }
    write(kept.path / STUDY, content)


def write(path: Path, content: Any) -> None:
    """JSON, whole or not at all. Raises BadRun."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadRun(f"{path} cannot be written: {error.strerror}") from error


def owed(finished: Mapping[str, Mapping[str, int]]) -> Owed:
    """For `estimate.seconds`: what is not there yet of (cell, method, answers in all)."""

    def left(cell: Cell, method: str, answers: int) -> int:
        return max(0, answers - finished.get(cell.name, {}).get(method, 0))

    return left


def finished(kept: Kept) -> dict[str, dict[str, int]]:
    """Answers that are there, by cell and method."""
    found: dict[str, dict[str, int]] = {}
    for place in sorted((kept.path / CELLS).glob("*")):
        counted = found.setdefault(place.name, {})
        for record in directory.read_records(place):
            if record["type"] == "answer":
                counted[record["method"]] = counted.get(record["method"], 0) + 1
    return found

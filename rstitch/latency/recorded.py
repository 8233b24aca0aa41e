"""Answers on record, from a trace file or a run: the passes of each, and whether it was right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rstitch import trace
from rstitch.errors import BadRequest, BadRun
from rstitch.evals import directory
from rstitch.evals.packed import unpack
from rstitch.evals.study.price import priceable
from rstitch.trace import Trace


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answer of one method."""

    method: str
    """The label in a run; the policy's name and parameters elsewhere."""
    trace: Trace
    right: bool | None = None
    """None where nobody graded it."""

    @property
    def tokens(self) -> int:
        return int(self.trace.end.get("usage", {}).get("tokens", 0)) or sum(
            one.keep for one in self.trace.proposals
        )


def read(path: Path, most: int | None = None) -> list[Recorded]:
    """The answers of a run's directory or of a trace file whose passes are on record; `most` of
    them, evenly spread. Raises BadRequest where there are none, or BadRun or BadTrace."""
    found = list(_of_run(path) if path.is_dir() else _of_file(path))
    found = [one for one in found if one.trace.forwards and one.tokens]
    if not found:
        raise BadRequest(
            f"{path} holds no answer whose passes are on record; give a run without --no-traces, "
            "or a file of rstitch generate --trace"
        )
    return found if most is None else spread(found, most)


def spread(found: Sequence[Recorded], most: int) -> list[Recorded]:
    step = max(1.0, len(found) / most)
    return [found[int(i * step)] for i in range(min(most, len(found)))]


def by_method(found: Sequence[Recorded]) -> dict[str, list[Recorded]]:
    methods: dict[str, list[Recorded]] = {}
    for one in found:
        methods.setdefault(one.method, []).append(one)
    return methods


def _of_file(path: Path) -> Iterator[Recorded]:
    for one in trace.read(path):
        yield Recorded(label(one), one)


def label(one: Trace) -> str:
    """Its policy as `--method` takes it."""
    spec = dict(one.policy)
    return ",".join([str(spec.pop("name")), *(f"{key}={value}" for key, value in spec.items())])


def _of_run(path: Path) -> Iterator[Recorded]:
    directory.read_config(path)
    for number, record in enumerate(directory.read_records(path), 1):
        if record["type"] != "answer" or not record["traces"] or not priceable(record):
            continue
        try:
            one = unpack(record["traces"][0])
        except (LookupError, TypeError, ValueError) as error:
            raise BadRun(f"{path}, record {number}: no trace ({error!r})") from error
        yield Recorded(record["method"], one, record["right"])

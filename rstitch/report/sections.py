"""Which runs belong in one table: the same problems, asked in the same way, on the same machine.

All else is shown side by side, a section for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstitch.evals.methods import CONTROLS
from rstitch.report.loaded import Loaded, built

OWN = ("methods", "reference", "traces", "files")
"""Keys of what was asked in which runs of one table may differ; `files` where no file is common."""
MERGED = ("methods", "files")


def sections(runs: Sequence[Loaded]) -> list[Loaded]:
    """In the order given, each run merged into the first that it fits."""
    found: list[Loaded] = []
    for run in runs:
        at = next((i for i, one in enumerate(found) if compatible(one, run)), None)
        if at is None:
            found.append(run)
        else:
            found[at] = merged(found[at], run)
    return found


def compatible(one: Loaded, other: Loaded) -> bool:
    """Whether both can stand in one table: a label or a file of code that both have means the same,
    and controls are matched to the same method."""
    if _common(one) != _common(other) or not _same_code(one, other):
        return False
    ours, theirs = one.config["methods"], other.config["methods"]
    controlled = any(spec["name"] in CONTROLS for spec in [*ours.values(), *theirs.values()])
    if controlled and one.asked["reference"] != other.asked["reference"]:
        return False
    return all(ours[label] == theirs[label] for label in ours.keys() & theirs.keys())


def merged(one: Loaded, other: Loaded) -> Loaded:
    """Methods of both; of those that both have, the first run's answers."""
    before = one.config["methods"]
    later = [record for record in other.records if record.get("method") not in before]
    asked = {**one.asked, **{key: {**_of(other, key), **_of(one, key)} for key in MERGED}}
    config = {**one.config, "asked": asked, "methods": {**before, **_new(before, other)}}
    analysis = other.analysis if one.analysis is None else one.analysis
    return built((*one.paths, *other.paths), config, [*one.records, *later], analysis)


def _new(before: dict[str, Any], other: Loaded) -> dict[str, Any]:
    return {label: spec for label, spec in other.config["methods"].items() if label not in before}


def _same_code(one: Loaded, other: Loaded) -> bool:
    """The rule, or the task's grader, may have changed under its name between two runs."""
    ours, theirs = _of(one, "files"), _of(other, "files")
    return all(ours[path] == theirs[path] for path in ours.keys() & theirs.keys())


def _of(run: Loaded, key: str) -> dict[str, Any]:
    return dict(run.asked.get(key, {}))


def _common(run: Loaded) -> dict[str, Any]:
    return {key: value for key, value in run.asked.items() if key not in OWN}

"""A profile on disk: what passes cost, of which pair, on which machine, measured when and how.

The file is the one that `--profile` reads for the waiting table ("slm", "llm": a line each), with
the fitted forms, their limits and errors, and every measured point beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from rstitch.costs import load_profile
from rstitch.engine.measure import ROWS
from rstitch.errors import BadRequest
from rstitch.files import replaced
from rstitch.latency.costs import Host, PassCosts
from rstitch.latency.forms import TERMS, Error, Form, Kind, Limits
from rstitch.types import Side

VERSION = 3
HARDWARE = ("cpu", "cores", "gpu", "device", "dtype", "engine", "compile", "threads")
"""What has to be the same for a profile to say something about a machine."""
MACHINE = HARDWARE[:3]
"""Of these, what no setting changes."""
Table = list[tuple[str, int, int, int, float, int]]


@dataclass(frozen=True, slots=True)
class Profile:
    """Costs, and what they belong to."""

    costs: PassCosts
    about: dict[str, Any] = field(default_factory=dict)
    """pair, models, hardware, versions, date."""
    grid: Table = field(default_factory=list)
    """(side, rows, new, cached, seconds, passes) of every measured point."""


def about(settings: Mapping[str, Any], pair: str, models: Mapping[str, str]) -> dict[str, Any]:
    """What a profile measured now belongs to. settings: those of `EngineConfig`."""
    from rstitch.evals.machine import machine

    found = machine()
    versions = {name: found.pop(name) for name in ("rstitch", "torch", "transformers", "python")}
    return {
        "pair": pair,
        "models": dict(models),
        "hardware": hardware(settings),
        "versions": versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of this machine, under these settings."""
    from rstitch.evals.machine import machine

    found = {**machine(), **settings}
    return {name: found.get(name) for name in HARDWARE}


def save(path: Path, profile: Profile) -> None:
    """Whole or not at all. Raises BadRequest if it cannot be written."""
    costs, line = profile.costs, profile.costs.line(ROWS)
    content = {
        **{s.label: {"base": line.base[s], "per_row": line.per_row[s]} for s in Side},
        "version": VERSION,
        **profile.about,
        "passes": {
            side.label: {kind: _written(form) for kind, form in forms.items()}
            for side, forms in costs.forms.items()
        },
        "host": asdict(costs.host),
        "grid": profile.grid,
    }
    try:
        with replaced(path) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"profile {path} cannot be written: {error.strerror}") from error


def load(path: Path) -> Profile:
    """Raises BadRequest that names the file and what is wrong, or old, in it."""
    load_profile(path)
    found = json.loads(path.read_text(encoding="utf-8"))
    if "passes" not in found:
        raise BadRequest(
            f"profile {path} is of an older rstitch, with a line for the waiting table alone; "
            "measure again with rstitch profile"
        )
    if found.get("version") != VERSION:
        raise BadRequest(
            f"profile {path} is of version {found.get('version')}, this rstitch reads {VERSION}; "
            "measure again with rstitch profile"
        )
    try:
        forms = {side: _sides(found["passes"][side.label]) for side in Side}
        host = Host(**{name: _seconds(found["host"][name]) for name in ("step", "row")})
        keys = ("pair", "models", "hardware", "versions", "date")
        told = {key: found[key] for key in keys}
        grid = [tuple(point) for point in found["grid"]]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadRequest(
            f"profile {path} is damaged ({error!r}); measure again with rstitch profile"
        ) from error
    return Profile(PassCosts(forms, host), told, grid)


def elsewhere(path: str | Path, settings: Mapping[str, Any] | None = None) -> str | None:
    """One line where a profile was measured on another machine, or in another way (where settings
    are given), naming both; None where it was not, or does not say. Unreadable files are for `load`
    to refuse."""
    names = HARDWARE if settings is not None else MACHINE
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        theirs = found["hardware"]
        ours = hardware(settings or {})
        differing = [name for name in names if theirs.get(name) != ours[name]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    if not differing:
        return None
    there = ", ".join(f"{name} {theirs.get(name)}" for name in differing)
    here = ", ".join(f"{name} {ours[name]}" for name in differing)
    return f"profile {path} was measured with {there}; here it is {here}"


def _written(form: Form) -> dict[str, Any]:
    return {
        "coefficients": dict(zip(TERMS[form.kind], form.coefficients, strict=True)),
        "limits": asdict(form.limits),
        "points": form.points,
        "held_out": asdict(form.error) if form.error else None,
        "raised": form.raised,
    }


def _sides(found: Mapping[str, Any]) -> dict[Kind, Form]:
    forms: dict[Kind, Form] = {kind: _form(kind, found[kind]) for kind in TERMS if kind in found}
    if not forms or len(forms) < len(found):
        raise ValueError(f"kinds of passes {list(found)}")
    return forms


def _form(kind: Kind, found: Mapping[str, Any]) -> Form:
    coefficients = tuple(_seconds(found["coefficients"][term]) for term in TERMS[kind])
    error = found["held_out"] and Error(**found["held_out"])
    limits, raised = Limits(**found["limits"]), tuple(map(float, found["raised"]))
    return Form(kind, coefficients, limits, int(found["points"]), error, raised)


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)

"""Pairs of models that belong together, each a small TOML file; the built-in one is one of them.

A file says where the models are and what is known to work with them. What is not known for sure is
left out: no revision, no licence, `checked = false` until somebody has seen `rstitch check` pass on
the published files, `measured = false` until tau was chosen by measuring.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rstitch.defaults import Habits
from rstitch.errors import BadRequest
from rstitch.types import Sampling, Side
from rstitch.units import nats

BUILTIN = Path(__file__).parent / "builtin"
ORDER = Path(__file__).parent / "order"
"""Where a pair of the second task will lie: none has passed yet."""
PRESETS = Path(__file__).parent / "presets"
PAPER_TAU = 0.02
"""What the paper calls the sweet spot of its pairs: taken where a pair has no tau of its own."""


@dataclass(frozen=True, slots=True)
class SidePreset:
    """One of the two models."""

    id: str = ""
    """On the hub."""
    path: str = ""
    """A directory instead of an id, relative to the file."""
    gguf: str = ""
    """The same model for llama.cpp, as repo:file on the hub."""
    revision: str | None = None
    """Commit, tag or branch of `id`."""
    gguf_revision: str | None = None
    """The same of `gguf`."""
    licence: str | None = None
    suffix: str = ""
    """Appended to the last user message, for this side alone."""
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """Role (end, think_open, think_close) to token, where the tokenizer does not tell."""

    @property
    def source(self) -> str:
        return self.path or self.id


@dataclass(frozen=True, slots=True)
class Preset:
    """Where the two models are and what is known to work with them."""

    name: str
    slm: SidePreset
    llm: SidePreset
    tau: float | str | None = None
    """Normalised, or in nats as "0.24nats"."""
    sampling: Sampling | None = None
    """None: as the LLM's generation_config says."""
    checked: bool = False
    """`rstitch check` has passed on the published files."""
    measured: bool = False
    """tau was chosen by measuring this pair."""
    note: str = ""
    habits: Habits = Habits()
    """For answers within limits, in a table of the same name."""
    calibration: Mapping[str, Any] | None = None
    """What `rstitch calibrate` has chosen tau by, and the models it is bound to; see
    `pairs.calibrated`."""

    def side(self, side: Side) -> SidePreset:
        return self.llm if side is Side.LLM else self.slm


def names() -> list[str]:
    """Names of the pairs that ship, the built-in one first."""
    found = sorted(path.stem for path in PRESETS.glob("*.toml"))
    return sorted(found, key=lambda name: name != "builtin")


def preset(name: str) -> Preset:
    """The pair of that name, or of a TOML file. Raises BadRequest that lists the known ones."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if path.parent == PRESETS and name not in names():
        known = ", ".join(names())
        raise BadRequest(f"unknown pair {name!r}; known: {known} (or give --slm and --llm)")
    try:
        return _preset(path.stem, tomllib.loads(path.read_text(encoding="utf-8")), path)
    except OSError as error:
        raise BadRequest(f"the pair {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOML that is none, or not UTF-8
        raise BadRequest(f"{path} is no TOML file: {error}") from error


def _preset(name: str, content: dict[str, Any], path: Path) -> Preset:
    if "card" in content:  # of a trained pair, which holds its tau
        card = json.loads((path.parent / content.pop("card")).read_text(encoding="utf-8"))
        content["tau"] = card["tau"]
    slm, llm = (_side(content.pop(side.label, None), side, path) for side in Side)
    sampling, habits = content.pop("sampling", None), content.pop("habits", None)
    _check_fields(content, Preset, str(path), leave_out={"name", "slm", "llm"})
    if isinstance(content.get("tau"), str) and nats(content["tau"]) is None:
        raise BadRequest(f"{path}: tau is {content['tau']!r}; write 0.02 or '0.24nats'")
    if sampling is not None:
        _check_fields(sampling, Sampling, f"{path}, sampling")
        content["sampling"] = Sampling.of(sampling)
    if habits is not None:
        content["habits"] = _habits(habits, f"{path}, habits")
    return Preset(name, slm, llm, **content)


def _habits(table: Any, where: str) -> Habits:
    if not isinstance(table, dict):
        raise BadRequest(f"{where} is {table!r}; it must be a table")
    _check_fields(table, Habits, where)
    values: dict[str, Any] = {k: tuple(v) if type(v) is list else v for k, v in table.items()}
    return Habits(**values)


def _side(table: Any, side: Side, path: Path) -> SidePreset:
    where = f"{path}, {side.label}"
    if not isinstance(table, dict):
        raise BadRequest(f"{path} has no [{side.label}] table")
    _check_fields(table, SidePreset, where)
    if bool(table.get("id")) == bool(table.get("path")):
        raise BadRequest(f"{where}: give either id or path")
    if table.get("path"):
        table["path"] = str((path.parent / table["path"]).resolve())
    return SidePreset(**table)


KINDS = {
    "tau": (int, float, str),
    "special_tokens": (dict,),
    "sampling": (dict,),
    "calibration": (dict,),
    **dict.fromkeys(("shortest", "after", "longest"), (int,)),
    **dict.fromkeys(("ceilings", "taus"), (list,)),
}
FLAGS = ("checked", "measured")


def _check_fields(
    table: dict[str, Any], kind: type, where: str, leave_out: set[str] | None = None
) -> None:
    """Refuse keys that are no field, and values of another kind."""
    known = [f.name for f in fields(kind) if f.name not in (leave_out or ())]
    for key, value in table.items():
        if key not in known:
            raise BadRequest(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
        if kind is Sampling:
            continue  # it checks its own
        expected = (bool,) if key in FLAGS else KINDS.get(key, (str,))
        if not isinstance(value, expected) or (key == "tau" and isinstance(value, bool)):
            raise BadRequest(f"{where}: {key} is {value!r}; it must be {expected[0].__name__}")

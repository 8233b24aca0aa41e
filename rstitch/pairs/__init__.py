"""Pairs of models that belong together; today the built-in one, which ships with the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rstitch.errors import BadRequest

BUILTIN = Path(__file__).parent / "builtin"


@dataclass(frozen=True, slots=True)
class Preset:
    """Where the two models are and what is known to work with them."""

    name: str
    slm: str
    llm: str
    tau: float
    """Chosen on the pair's dev problems."""


def preset(name: str) -> Preset:
    """The pair of that name. Raises BadRequest that lists the known ones."""
    if name != "builtin":
        raise BadRequest(f"unknown pair {name!r}; known: builtin (or give --slm and --llm)")
    card = json.loads((BUILTIN / "pair.json").read_text(encoding="utf-8"))
    return Preset(name, str(BUILTIN / "slm"), str(BUILTIN / "llm"), card["tau"])

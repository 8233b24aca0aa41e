"""A run card: what a run claims, small enough to publish, and checked again from its traces.

    card.json    {"version": 1, "runs": [...], "table": [...], "groups": {...}, "claims": [...]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def make_card(runs: Sequence[Path]) -> dict[str, Any]:
    """The card of these run directories. Raises BadRun for one that is no whole run."""
    raise NotImplementedError


def verify(card: Mapping[str, Any], runs: Sequence[Path]) -> list[str]:
    """What differs between the card and the runs, each in one line that begins with its key; none
    where all is as it says. Raises BadRun for what cannot be read."""
    raise NotImplementedError

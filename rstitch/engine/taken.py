"""One forward pass as the engine takes it in: which rows it had, and what was read from it."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass

from rstitch.engine.sequence import Sequence
from rstitch.types import Proposal


@dataclass(slots=True)
class Taken:
    rows: Many[Sequence]
    sizes: Many[int]
    """Tokens that were fed to each."""
    ends: Many[int]
    """Tokens that each had cached after it."""
    asked: Many[Sequence]
    """Those whose side had then seen everything ..."""
    proposals: Many[Proposal]
    """... and what it proposed."""
    seconds: float

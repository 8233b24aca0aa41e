"""What came of holding a run against itself: what differs, and what had to be taken on trust."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Found:
    """Of one run, or of all that a card is of."""

    differences: list[str] = field(default_factory=list)
    """Each a line that begins with where it is."""
    notes: dict[str, int] = field(default_factory=dict)
    """What had to be taken on trust, and how often."""
    records: int = 0
    traces: int = 0

    def trust(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1

"""Time of the two models, shared alike between those on whose behalf requests are in flight.

Rows share steps, so whoever has few rows moves on as often as one who has many; but a step of many
rows takes longer, and who asked for the many pays for it with everybody's time. So each owner has
an account of the seconds that its rows took, and whoever is ahead of the least of them waits while
the others run without it: processor sharing by service attained, with steps for quanta. Who stays
behind by less than a step is not held back, since to ride along is cheap; one owner alone never
waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Turns:
    """`enter` and `leave` with each row in flight, `due` before a step, `charge` after it."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._served: dict[str, float] = {}
        """Seconds that each owner's rows took, counted from where the least of the others was when
        its first one came: who was away has no claim on what went by."""
        self.contested = False
        """There are several owners."""

    def enter(self, owner: str) -> None:
        self._rows[owner] += 1
        if owner not in self._served:
            self._served[owner] = min(self._served.values(), default=0.0)
            self.contested = len(self._served) > 1

    def leave(self, owner: str) -> None:
        self._rows[owner] -= 1
        if not self._rows[owner]:
            del self._rows[owner], self._served[owner]
            self.contested = len(self._served) > 1

    def due(self, margin: float) -> frozenset[str]:
        """Owners whose rows may be in the next step: those at most `margin` seconds ahead."""
        bound = min(self._served.values()) + margin
        return frozenset(owner for owner, seconds in self._served.items() if seconds <= bound)

    def charge(self, owners: Sequence[str], seconds: float) -> None:
        """A step took that long, with one row for each of `owners`, who may occur again."""
        for owner, rows in Counter(owners).items():
            if owner in self._served:  # its last row may have ended in this step
                self._served[owner] += seconds * rows / len(owners)

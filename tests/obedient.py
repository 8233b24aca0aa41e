"""The engine's process of tests: it is rstitch's own, and obeys `tests.passes` beside it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from rstitch.remote import child, serving
from rstitch.types import Side
from tests.passes import Before, noting_stops, running_as


class Obedient(serving.Serving):
    def run(self) -> None:
        self._orders: list[AbstractContextManager[None]] = []
        with noting_stops(self.engine):
            super().run()

    def _begin(self, before: Before, sides: tuple[Side, ...]) -> None:
        self._orders.append(running_as(self.engine, before, sides))
        self._orders[-1].__enter__()

    def _end(self) -> None:
        self._orders.pop().__exit__(None, None, None)


if __name__ == "__main__":
    serving.Serving = Obedient  # type: ignore[misc]
    child.main()

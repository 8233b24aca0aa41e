"""What every pass of a pair costs on one machine, as far as that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rstitch.costs import LinearCosts
from rstitch.errors import BadRequest
from rstitch.latency.forms import Form, Kind, kind_of
from rstitch.latency.shape import Shape
from rstitch.types import Side

KINDS: tuple[Kind, ...] = ("one", "decode", "catch-up", "catch-ups", "prefill", "prefills")
"""Those that are alike lie side by side."""
TYPICAL = 4
"""The line for the waiting table is that of contexts this part as long as the longest measured."""


@dataclass(frozen=True, slots=True)
class Host:
    """Seconds of an engine's step outside its forward pass: scheduling, text, events."""

    step: float = 0.0
    row: float = 0.0

    def seconds(self, rows: int) -> float:
        return self.step + self.row * rows


@dataclass(frozen=True, slots=True)
class PassCosts:
    """Seconds of a pass, gate and reading included, by side and kind."""

    forms: Mapping[Side, Mapping[Kind, Form]]
    host: Host = Host()

    def covers(self, side: Side, shape: Shape) -> bool:
        """Whether it lies within what was measured."""
        form = self.forms[side].get(kind_of(shape))
        return form is not None and form.limits.hold(shape)

    def seconds(self, side: Side, shape: Shape, *, beyond: bool = False) -> float:
        """Of one pass. Raises BadRequest for one outside the measured grid, with the numbers,
        unless `beyond`: then the form goes on, or that of the nearest kind stands in."""
        kind = kind_of(shape)
        form = self.forms[side].get(kind)
        if not beyond and (form is None or not form.limits.hold(shape)):
            raise BadRequest(self._outside(side, shape, kind, form))
        return (form or self._nearest(side, kind)).seconds(shape)

    def line(self, rows: int) -> LinearCosts:
        """Decode steps of one row and of `rows` (or of as many as were measured, if fewer) at a
        middling context, for the waiting table."""
        known = [forms["decode"].limits.rows for forms in self.forms.values() if "decode" in forms]
        rows = min([rows, *known])
        ends = [(self._step(side, 1), self._step(side, max(2, rows))) for side in Side]
        slopes = [max(0.0, (many - one) / (max(2, rows) - 1)) for one, many in ends]
        base = [max(one - slope, 1e-9) for (one, _), slope in zip(ends, slopes, strict=True)]
        return LinearCosts((base[0], base[1]), (slopes[0], slopes[1]))

    def times(self, side: Side, factor: float) -> PassCosts:
        """The same with passes of one side so many times as dear."""
        forms = {
            kind: replace(form, coefficients=tuple(factor * c for c in form.coefficients))
            for kind, form in self.forms[side].items()
        }
        return replace(self, forms={**self.forms, side: forms})

    def _step(self, side: Side, rows: int) -> float:
        form = self.forms[side].get("one") or self._nearest(side, "one")
        return self.seconds(side, Shape.even(rows, 1, form.limits.longest // TYPICAL), beyond=True)

    def _nearest(self, side: Side, kind: Kind) -> Form:
        at = KINDS.index(kind)
        order = sorted(KINDS, key=lambda one: abs(KINDS.index(one) - at))
        return next(self.forms[side][one] for one in order if one in self.forms[side])

    def _outside(self, side: Side, shape: Shape, kind: Kind, form: Form | None) -> str:
        asked = (
            f"a {kind} pass of the {side.name} with {shape.rows} rows, {shape.widest} tokens a row "
            f"and a context of {shape.longest}"
        )
        if form is None:
            return f"{asked} has no price: none of that kind was measured; measure more rows"
        limits = form.limits
        return (
            f"{asked} lies outside what was measured ({limits.rows} rows, {limits.widest} tokens a "
            f"row, {limits.tokens} in all, context {limits.longest}); measure further, or allow it"
        )

"""The paper's two forms, extended by rows, and how they are fitted.

R-Stitch prices a prefill as `a N_inf N_kv + b N_inf^2 + c N_inf + d` and a decode step as
`c N_kv + d`, one row at a time. With several rows each term is summed over them, and a row costs
something by itself. One line does not fit a step of one row and of many (another product is
run, and rows that feed different numbers of tokens attend apart), nor a catch-up of 5 tokens and a
prompt of 500, so there are six kinds of pass:

    one        one row, one token            c k + d
    decode     one token a row               c sum k + e rows + d
    catch-up   one row, at most 16 tokens    a n k + b n^2 + c n + f k + d
    catch-ups  several, at most 16 each      a sum n k + b sum n^2 + c sum n + f sum k + e rows + d
    prefill    one row, more                 as catch-up, with its own numbers
    prefills   several, one with more        as catch-ups, with its own numbers
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rstitch.latency import fit
from rstitch.latency.shape import CATCH_UP, Shape

Kind = Literal["one", "decode", "catch-up", "catch-ups", "prefill", "prefills"]
TERMS: dict[Kind, tuple[str, ...]] = {
    "one": ("cached", "pass"),
    "decode": ("cached", "rows", "pass"),
    "catch-up": ("cross", "squares", "tokens", "cached", "pass"),
    "catch-ups": ("cross", "squares", "tokens", "cached", "rows", "pass"),
    "prefill": ("cross", "squares", "tokens", "cached", "pass"),
    "prefills": ("cross", "squares", "tokens", "cached", "rows", "pass"),
}
"""What a coefficient (seconds) is multiplied with; "pass" is 1."""
FOLDS = 5
LEAST = 2
"""Points from which a kind is fitted."""
ENOUGH = 20
"""Passes in flight that say how dear a kind is there."""
OUTLIER = 4.0
"""A pass counts for at most so many times what is typical of it."""


def kind_of(shape: Shape) -> Kind:
    if shape.tokens == shape.rows:
        return "one" if shape.rows == 1 else "decode"
    if shape.rows == 1:
        return "catch-up" if shape.widest <= CATCH_UP else "prefill"
    return "catch-ups" if shape.widest <= CATCH_UP else "prefills"


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest of everything that was measured."""

    rows: int
    tokens: int
    widest: int
    longest: int

    def hold(self, shape: Shape) -> bool:
        return (
            shape.rows <= self.rows
            and shape.tokens <= self.tokens
            and shape.widest <= self.widest
            and shape.longest <= self.longest
        )


@dataclass(frozen=True, slots=True)
class Error:
    """Of |fitted / measured - 1|, on points that the fit had not seen; 0.05 is 5 %."""

    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of pass on one side."""

    kind: Kind
    coefficients: tuple[float, ...]
    """Seconds, by `TERMS[kind]`, none below zero."""
    limits: Limits
    points: int
    error: Error | None
    """Of the grid's own form; None where there were too few points to leave some out."""
    raised: tuple[float, ...] = ()
    """What a row (where it has a price) and a pass take beyond the grid's with answers in flight,
    or below it; the coefficients have it in them. Empty where too little was seen."""

    def seconds(self, shape: Shape) -> float:
        return sum(
            c * _value(shape, term)
            for c, term in zip(self.coefficients, TERMS[self.kind], strict=True)
        )


def fitted(measured: Iterable[tuple[Shape, float]]) -> dict[Kind, Form]:
    """A form for each kind of which there are points: (what was run, seconds)."""
    found: dict[Kind, list[tuple[Shape, float]]] = {}
    for shape, seconds in measured:
        found.setdefault(kind_of(shape), []).append((shape, seconds))
    return {kind: _fitted(kind, points) for kind, points in found.items() if len(points) >= LEAST}


def raised(form: Form, live: Sequence[tuple[Shape, float]]) -> Form:
    """With what its kind took beyond it in flight, or less, by row and by pass, if enough of it
    was seen: contexts and tokens cost there what they cost in the grid."""
    if len(live) < ENOUGH:
        return form
    last = 1 + ("rows" in TERMS[form.kind])
    first, ends = form.coefficients[:-last], np.array(form.coefficients[-last:])
    x = np.array([[_value(shape, term) for term in TERMS[form.kind][-last:]] for shape, _ in live])
    priced = np.array([form.seconds(shape) for shape, _ in live])
    seen = np.minimum([s for _, s in live], OUTLIER * priced)
    now = fit.solve(x, seen - (priced - x @ ends), priced)
    more = tuple((now - ends).tolist())
    return replace(form, coefficients=(*first, *now.tolist()), raised=more)


def _fitted(kind: Kind, points: Sequence[tuple[Shape, float]]) -> Form:
    shapes = [shape for shape, _ in points]
    x = np.array([[_value(shape, term) for term in TERMS[kind]] for shape in shapes], dtype=float)
    y = np.array([seconds for _, seconds in points])
    off = np.abs(fit.held_out(x, y, FOLDS))
    off = off[~np.isnan(off)]
    error = Error(float(np.median(off)), float(np.quantile(off, 0.95))) if len(off) else None
    names = ("rows", "tokens", "widest", "longest")
    limits = Limits(**{name: max(getattr(shape, name) for shape in shapes) for name in names})
    return Form(kind, tuple(fit.unbiased(x, y).tolist()), limits, len(points), error)


def _value(shape: Shape, term: str) -> float:
    return 1.0 if term == "pass" else float(getattr(shape, term))

"""A calibration's curve as plain aligned text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstitch.cli.tabled import aligned

if TYPE_CHECKING:
    from rstitch.evals.calibration.curve import Curve, Point

HEAD = ("tau", "LLM %", "tokens", "s/answer", "speed-up", "95 %", "agree", "95 %", "right %")
WITH_BOUND = ("won", "lost", "points", "from", "shown")


def lines(curve: Curve) -> list[str]:
    """The LLM alone, then every tau; columns that nothing is known for are left out."""
    rows = [[*HEAD, *WITH_BOUND]]
    rows.append(_row("LLM alone", curve.llm))
    rows += [_row(f"{one.tau:g}", one) for one in curve.points]
    told = [f"{curve.llm.n} prompts, latency on {curve.llm.timed}"]
    if curve.again is not None:
        told.append(f"the LLM agrees with itself on {curve.again}, with other draws")
    return [*aligned(rows), "", "; ".join(told)]


def _row(name: str, one: Point) -> list[str]:
    alone = one.tau < 0
    low, high = one.agreement
    fast = one.speed_interval if not alone else None
    return [
        name,
        f"{100 * one.llm_share:.1f}",
        f"{one.tokens:.1f}",
        "" if one.seconds is None else f"{one.seconds:.3f}",
        f"{one.speed_up:.2f}x" if fast else "",
        f"{fast[0]:.2f} to {fast[1]:.2f}" if fast else "",
        "" if alone else f"{one.agreed}/{one.n}",
        "" if alone else f"{100 * low:.0f} to {100 * high:.0f} %",
        "" if one.right is None else f"{100 * one.right / one.n:.2f}",
        *_bound(one, alone),
    ]


def _bound(one: Point, alone: bool) -> list[str]:
    if alone or one.won is None or one.lost is None:
        return [""] * len(WITH_BOUND)
    return [
        str(one.won),
        str(one.lost),
        f"{100 * (one.won - one.lost) / one.n:+.2f}",
        "" if one.low is None else f"{100 * one.low:+.2f}",
        {True: "yes", False: "no", None: ""}[one.shown],
    ]

"""tau in the units that people have: normalised, or nats as much of the literature writes it."""

from __future__ import annotations

import math

from rstitch.errors import BadRequest

UNIT = "nats"


def nats(text: str) -> float | None:
    """The number in "0.24nats"; None without that unit. Raises BadRequest for "xnats"."""
    stripped = text.strip().lower()
    if not stripped.endswith(UNIT):
        return None
    try:
        value = float(stripped.removesuffix(UNIT))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRequest(f"tau is {text!r}; write nats as in 0.24nats")
    return value


def normalised(tau: float | str, vocab_size: int) -> float | str:
    """tau over ln V if it is in nats; anything else as it is, for the policy to judge."""
    value = nats(tau) if isinstance(tau, str) else None
    return tau if value is None else value / math.log(vocab_size)

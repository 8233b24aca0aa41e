"""lambda as a dial: what time is worth decides how likely harm has to be before the LLM is asked.

With reward r (1 - lambda L) and a hand-off that takes `dL` longer, handing over pays where

    P(keeping the token loses the answer) > lambda dL / (1 - lambda L),

so on calibrated log-odds another lambda is another bound, and needs no training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rstitch.errors import BadRequest
from rstitch.policy.base import is_number
from rstitch.types import Side

MOST = 100.0
"""Log-odds that nothing outweighs."""


def shift_of(price: float, hand_off: float, answer: float) -> float:
    """What lambda adds to the log-odds: price is lambda, the others seconds over the reference's.

    MOST (never keep) at 0: where time is worth nothing, nothing is risked.
    """
    worth = 1 - price * answer  # of a right answer
    bound = price * hand_off / worth if worth > 0 else math.inf
    if bound <= 0:
        return MOST
    return math.log((1 - bound) / bound) if bound < 1 else -MOST


def above_of(price: object, card: Mapping[str, Any]) -> float:
    """Log-odds of a trained router above which the LLM is asked at another lambda than its own.

    Raises BadRequest for a lambda that is no number from 0 on.
    """
    if not is_number(price) or not 0 <= price:  # type: ignore[operator]  # it is a number by now
        raise BadRequest(f"price is {price!r}; lambda must be 0 or more, such as 0.05")
    hand_off = hand_off_of(card)
    own = shift_of(card["lambda"], hand_off, 1.0)
    return own - shift_of(price, hand_off, 1.0)  # type: ignore[arg-type]


def hand_off_of(card: Mapping[str, Any]) -> float:
    """What leaving the SLM takes at least, its pass in vain and one of the LLM, over the plain
    stitched answer's time."""
    prices = card["prices"]
    passes = sum(prices["base"][side] + prices["per_row"][side] for side in Side)
    return float(passes / card["dev"]["gate"]["predicted_seconds"])

"""What an engine's step takes beside its forward pass: scheduling, committing, text, events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rstitch.latency import fit
from rstitch.latency.costs import Host
from rstitch.latency.live import Live


def fitted(seen: Sequence[Live]) -> Host:
    """No time where none was seen, as on a clock that only passes move."""
    kept = [one for one in seen if one.seen and one.outside > 0]
    if not kept:
        return Host()
    x = np.array([[1.0, one.rows] for one in kept])
    step, row = fit.solve(x, np.array([one.outside / len(one.seen) for one in kept])).tolist()
    return Host(step, row)

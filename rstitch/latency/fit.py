"""Least squares of relative errors without negative coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


AGAIN = 5
"""Times that `unbiased` weighs anew; it changes nothing to speak of after three."""


def solve(x: Numbers, y: Numbers, scale: Numbers | None = None) -> Numbers:
    """Coefficients (columns,) >= 0 with the least squares of (x @ coefficients - y) / scale.

    x: (points, columns), y: (points,), above 0; scale: y if left out. What comes out below zero is
    left out, the worst first; a column of zeros gets 0.
    """
    by = y if scale is None else scale
    weighted, target = x / by[:, None], y / by
    used = [i for i in range(x.shape[1]) if x[:, i].any()]
    found = np.zeros(x.shape[1])
    while used:
        # To one size, since one column may count thousands where another is always 1.
        size = np.abs(weighted[:, used]).max(0)
        solution = np.linalg.lstsq(weighted[:, used] / size, target, rcond=None)[0] / size
        if (solution >= 0).all():
            found[used] = solution
            break
        used.pop(int((solution * size).argmin()))
    return found


def unbiased(x: Numbers, y: Numbers) -> Numbers:
    """As `solve`, each error as a share of what is fitted and not of what was measured: else a
    point that was slow by chance counts less than one that was quick, and all prices are low."""
    found = solve(x, y)
    for _ in range(AGAIN):
        fitted = x @ found
        found = solve(x, y, np.maximum(fitted, 1e-3 * y))
    return found


def held_out(x: Numbers, y: Numbers, folds: int) -> Numbers:
    """For each point, what a fit that has not seen it says over what was measured, less 1. Points
    are dealt to the folds in turn; nan where too few are left to fit."""
    error = np.full(len(y), np.nan)
    for fold in range(min(folds, len(y))):
        out = np.arange(len(y)) % folds == fold
        if (~out).sum() >= x.shape[1]:
            error[out] = x[out] @ unbiased(x[~out], y[~out]) / y[out] - 1
    return error

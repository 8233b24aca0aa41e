"""Least squares of relative errors without negative coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def solve(x: Numbers, y: Numbers) -> Numbers:
    """Coefficients (columns,) >= 0 that make x @ coefficients / y as close to 1 as they can.

    x: (points, columns), y: (points,), above 0. What comes out below zero is left out, the worst
    first; a column of zeros gets 0.
    """
    weighted, target = x / y[:, None], np.ones(len(y))
    used = [i for i in range(x.shape[1]) if x[:, i].any()]
    found = np.zeros(x.shape[1])
    while used:
        # Scaled, since one column may count thousands where another is always 1.
        scale = np.abs(weighted[:, used]).max(0)
        solution = np.linalg.lstsq(weighted[:, used] / scale, target, rcond=None)[0] / scale
        if (solution >= 0).all():
            found[used] = solution
            break
        used.pop(int((solution * scale).argmin()))
    return found


def held_out(x: Numbers, y: Numbers, folds: int) -> Numbers:
    """For each point, what a fit that has not seen it says over what was measured, less 1. Points
    are dealt to the folds in turn; nan where too few are left to fit."""
    error = np.full(len(y), np.nan)
    for fold in range(min(folds, len(y))):
        out = np.arange(len(y)) % folds == fold
        if (~out).sum() >= x.shape[1]:
            error[out] = x[out] @ solve(x[~out], y[~out]) / y[out] - 1
    return error

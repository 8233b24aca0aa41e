"""Sampling settings: which are refused by name, which are taken."""

from __future__ import annotations

import math

import pytest

from rstitch.errors import BadRequest
from rstitch.types import Sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("min_p", -0.01),
        ("min_p", 1.01),
        ("min_p", math.nan),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_bad_settings_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(BadRequest, match=f"^{name} is {value!r}; it must be "):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "warm"),
        ("temperature", None),
        ("top_k", 1.5),
        ("top_k", "3"),
        ("top_p", "0.9"),
        ("min_p", None),
        ("seed", 1.5),
        ("seed", "1"),
    ],
)
def test_settings_that_are_no_numbers_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"^{name} is {value!r}; it must be "):
        Sampling(**{name: value})


def test_settings_at_their_limits_are_taken() -> None:
    Sampling(temperature=0, top_k=0, top_p=1, min_p=0, seed=0)
    Sampling(temperature=100.0, top_k=10**6, top_p=1e-9, min_p=1, seed=2**63 - 1)

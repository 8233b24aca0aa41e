"""Sampling settings: which are refused by name, which are taken."""

from __future__ import annotations

import json
import math
from typing import Any

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
        ("presence_penalty", 2.01),
        ("presence_penalty", math.nan),
        ("frequency_penalty", -2.01),
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
        ("presence_penalty", "1"),
        ("frequency_penalty", None),
    ],
)
def test_settings_that_are_no_numbers_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"^{name} is {value!r}; it must be "):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    "value",
    [
        {5: 1.0},
        [(5, 1.0)],
        ((5,),),
        ((-1, 1.0),),
        ((True, 1.0),),
        (("5", 1.0),),
        ((5, 100.5),),
        ((5, math.nan),),
        ((5, "1"),),
        ((5, 1.0), (5, 2.0)),
    ],
    ids=str,
)
def test_a_bias_that_is_none_is_refused_with_what_it_must_be(value: Any) -> None:
    with pytest.raises(BadRequest) as error:
        Sampling(logit_bias=value)
    told = "it must be a tuple of (token id, number from -100 to 100), each id once"
    assert str(error.value) == f"logit_bias is {value!r}; {told}"


def test_a_record_says_only_what_is_on() -> None:
    """So older records and hashes of settings stay what they were; it is read back whole."""
    plain = Sampling(0.7, seed=3)
    assert list(plain.as_dict()) == ["temperature", "top_k", "top_p", "min_p", "seed"]
    every = Sampling(presence_penalty=1, frequency_penalty=-0.5, logit_bias=((3, 4), (9, -1.5)))
    for one in (plain, every):
        assert Sampling.of(json.loads(json.dumps(one.as_dict()))) == one
        assert hash(Sampling.of(one.as_dict())) == hash(one)
    assert every.shifts and not plain.shifts
    assert Sampling(seed=1).likeliest and not plain.likeliest and not every.likeliest


def test_settings_at_their_limits_are_taken() -> None:
    Sampling(temperature=0, top_k=0, top_p=1, min_p=0, seed=0)
    Sampling(temperature=100.0, top_k=10**6, top_p=1e-9, min_p=1, seed=2**63 - 1)
    Sampling(presence_penalty=-2, frequency_penalty=2.0, logit_bias=((0, -100), (1, 100.0)))

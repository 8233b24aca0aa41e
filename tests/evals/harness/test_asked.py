"""`gen_kwargs` of lm-evaluation-harness in this package's words."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.types import Sampling

if find_spec("lm_eval") is None:
    pytest.skip("needs rstitch[harness]", allow_module_level=True)

from rstitch.evals.harness.asked import Asked, asked

OWN = Sampling(temperature=0.6, top_p=0.95)


@pytest.mark.parametrize(
    ("given", "sampling"),
    [
        ({}, Sampling()),
        ({"do_sample": False, "temperature": 0.7}, Sampling()),
        ({"temperature": 0.7, "top_p": 0.9}, Sampling(0.7, top_p=0.9)),
        ({"do_sample": True, "temperature": 0.7, "seed": 3}, Sampling(0.7, seed=3)),
        ({"do_sample": True}, OWN),
        ({"do_sample": True, "top_k": 5}, Sampling(0.6, top_p=0.95, top_k=5)),
        ({"temperature": 0.0}, Sampling()),
    ],
)
def test_sampling(given: dict[str, Any], sampling: Sampling) -> None:
    assert asked(given, OWN, 9).sampling == sampling


def test_samples_without_a_temperature_on_a_greedy_pair() -> None:
    assert asked({"do_sample": True}, Sampling(), 9).sampling == Sampling(temperature=1.0)


def test_lengths_and_stops() -> None:
    one = asked({"until": "\n\n", "max_tokens": 7, "max_gen_toks": 8}, OWN, 9)
    assert (one.until, one.max_tokens) == (("\n\n",), 8)
    assert asked({"until": ["a", ""]}, OWN, 9).until == ("a",) and asked({}, OWN, 9).max_tokens == 9
    with pytest.raises(BadRequest, match="gen_kwargs has 'num_beams'; known: until, do_sample"):
        asked({"num_beams": 2}, OWN, 9)


def test_messages() -> None:
    turns = [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "u"))]
    one = Asked((), OWN, 9, "text", messages=turns)
    assert (one.words, one.history, one.begun) == ("u", turns[:1], "")
    begun = Asked((), OWN, 9, messages=[*turns, {"role": "assistant", "content": "So "}])
    assert (begun.words, begun.history, begun.begun) == ("u", turns[:1], "So ")
    assert (Asked((), OWN, 9, "raw").words, Asked((), OWN, 9, "raw").begun) == ("raw", "")
    with pytest.raises(BadRequest, match="the last message is not of the user"):
        _ = Asked((), OWN, 9, messages=turns[:1]).words

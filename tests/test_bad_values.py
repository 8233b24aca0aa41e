"""Values of the wrong type in Python: one line with the value and the remedy, no TypeError."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch.errors import BadRequest
from tests.pair import QUESTION, stitch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": "x"}, "max_tokens is 'x'; it must be a whole number"),
        ({"max_tokens": 2.5}, "max_tokens is 2.5; it must be a whole number"),
        ({"max_tokens": None}, "max_tokens is None; it must be a whole number"),
        ({"n": 1.5}, "n is 1.5; it must be a whole number"),
        ({"top_logprobs": "a"}, "top_logprobs is 'a'; it must be a whole number"),
        ({"stop": 5}, "stop is 5; it must be a list of texts"),
        ({"stop": ["a", 5]}, "stop is ['a', 5]; it must be a text or several"),
        ({"stop_token_ids": 5}, "stop_token_ids is 5; it must be a list of token ids"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids has 'a'; it must be token ids, from 0 on"),
        ({"stop_token_ids": [-1]}, "stop_token_ids has -1; it must be token ids, from 0 on"),
        ({"policy": 3}, "policy is 3; give a policy or the name of one, such as slm"),
        (
            {"sampling": {"temperature": 1}},
            "sampling is {'temperature': 1}; give rstitch.types.Sampling(temperature=1.0)",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_told_with_the_remedy(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest) as error:
        stitch().generate(QUESTION, **options)
    assert str(error.value) == message
    stats = stitch().engine.stats()
    assert (stats["active"], stats["queued"]) == (0, 0)
    assert stitch().generate(QUESTION, max_tokens=2).usage.tokens == 2

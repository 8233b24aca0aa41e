"""Right or wrong: the last box of the text, compared with a whole number."""

from __future__ import annotations

import pytest

from rstitch.evals.grade import is_right


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{42}",
        r"so the answer is \boxed{ 42 }.",
        "\\boxed{\n42\n}",
        r"\boxed{41}, no: \boxed{42}",  # the last box counts
        r"<think>\boxed{41}</think> \boxed {42}",
    ],
)
def test_right(text: str) -> None:
    assert is_right(text, 42)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "the answer is 42",
        r"\boxed{41}",
        r"\boxed{42}, no: \boxed{41}",
        r"\boxed{}",
        r"\boxed{42",  # cut off
        r"\boxed{4 2}",
        r"\boxed{42.0}",
        r"\boxed{042}",
        r"\boxed{-42}",
        r"\boxed{42 apples}",
        r"\boxed{\text{42}}",
        "\\boxed{\u0664\u0662}",  # Arabic digits
    ],
)
def test_wrong_and_never_an_error(text: str) -> None:
    assert not is_right(text, 42)


def test_negative_numbers_and_zero() -> None:
    assert is_right(r"\boxed{-7}", -7) and not is_right(r"\boxed{7}", -7)
    assert is_right(r"\boxed{0}", 0) and not is_right(r"\boxed{-0}", 0)

"""One way to write an answer: what differs in layout only becomes the same text.

Whole numbers, decimals, fractions and powers of ten become exact numbers. Anything that takes
algebra is left to `verify`.
"""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 1000
"""Characters; a longer answer is no answer, and is compared as it is."""
MAX_EXPONENT = 400
"""Of ten: 1e999999999 as a fraction would fill the memory."""

_THIN = re.compile(r"\\!\s*|(?<=\d)\\,(?=\d{3}(?!\d))")
"""What stands between the digits of one number."""
_SPACES = re.compile(r"\\[,;:! ]|\\quad|\\qquad|~|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle")
_WORDS = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*")
SCALES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_POWERS = {"squared": 2, "cubed": 3}
_PARTS = "half|halves|thirds?|fourths?|fifths?|sixths?|eighths?|tenths?|hundredths?|thousandths?"
_NO_UNIT = rf"(?:{'|'.join(SCALES)})s?|{_PARTS}|pi|or|and|to|mod|sqrt|infinity|plus|minus|over"
_UNIT = re.compile(
    rf"(?<=[\d}})])\s*\\(?:text|mathrm|mbox)\s*\{{\s*(?!(?:{_NO_UNIT})\b)[A-Za-z][A-Za-z ./^0-9]*"
    r"\}(\^\d)?$",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    rf"([-+]?[\d.,/ ]*\d)(?:\s+(?!(?:{_NO_UNIT})\b)[A-Za-z]{{2,}})+", re.IGNORECASE
)
"""A number of something, in plain words: 18 dollars, but neither 2 pi nor 5 or 7."""
_SPOKEN = re.compile(
    r"([-+]?(?:[\d.,]*\d|\d+/\d+|\\frac\{\d+\}\{\d+\}))\s*(?:\\(?:text|mathrm|mbox)\s*\{)?\s*"
    rf"(?:({'|'.join(SCALES)})s?\b([A-Za-z ]*)|({'|'.join(_POWERS)})\s*)(?:\}}\s*)?",
    re.IGNORECASE,
)
"""A number with the word that makes another of it: 3 million people, 3 squared."""
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)")
_HALF_FRACTION = re.compile(r"\\frac\s*(\{[^{}]*\})\s*(\d)")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ASSIGNED = re.compile(r"[A-Za-z](?:\([A-Za-z]\))?=([^=]+)")
_MIXED = re.compile(r"([-+]?)(\d+) (\d+)/(\d+)")
_FRACTION = re.compile(r"([-+]?)\\frac\{([-+]?\d+)\}\{([-+]?\d+)\}|([-+]?\d+)/(\d+)")
_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")
_POWER = re.compile(
    r"([-+]?(?:\d+\.?\d*|\.\d+))(?:[eE]([-+]?\d+)|(?:\\times|\\cdot|\*|x|×)10\^\{?([-+]?\d+)\}?)"
)


def normal(text: str) -> str:
    """Spaces, dollars, units, degrees, percent signs and markup removed; numbers in one form."""
    if len(text) > LONGEST:
        return text
    bare = _strip(text)
    value = number(bare)
    if value is not None:
        return str(value)
    assigned = _ASSIGNED.fullmatch(bare)
    if assigned:
        return normal(assigned[1])
    return bare.casefold() if re.fullmatch(r"[A-Za-z.,'-]{2,}", bare) else bare


def _strip(text: str) -> str:
    text = text.strip().removeprefix("\\(").removesuffix("\\)")
    text = text.removeprefix("\\[").removesuffix("\\]").strip().strip("$").strip()
    text = text.removesuffix(".").replace("\\$", "").replace("$", "").replace("{,}", ",")
    text = _SPACES.sub(" ", _THIN.sub("", text)).strip()
    text = _DEGREES.sub(" ", text).replace("\\%", " ").replace("%", " ").replace("−", "-").strip()
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = _HALF_FRACTION.sub(r"\\frac\1{\2}", _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text))
    text = _reckoned(text)
    if text[:1].isdigit() or text[:1] in "-+\\.":
        text = _UNIT.sub("", text)
    text = re.sub(r"(\d)_\{(\d+)\}", r"\1_\2", _unwrapped(_WORDS.sub("", text)))
    counted = _COUNTED.fullmatch(text)
    text = re.sub(r"\s+", " ", counted[1] if counted else text)
    grouped = _THOUSANDS.fullmatch(text) is not None  # before `1, 234` loses its space
    text = re.sub(r"(?<!\d) | (?!\.?\d)", "", text)  # two numbers never become one
    if len(text) == 3 and text[0] == "(" and text[2] == ")" and text[1].isalpha():
        return text[1]  # the letter of a choice
    return text.replace(",", "") if grouped else text


def _reckoned(text: str) -> str:
    """3 million people as 3000000 people, 3 squared as 9."""
    while found := _SPOKEN.fullmatch(text):
        value = number(_plain(found[1]))
        if value is None:
            return text
        if found[4]:
            return str(value ** _POWERS[found[4].lower()])
        text = f"{value * SCALES[found[2].lower()]}{found[3]}".strip()
    return text


def _plain(text: str) -> str:
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _unwrapped(text: str) -> str:
    """Without braces around the whole, such as those that `\\text{...}` leaves."""
    text = text.strip()
    while (
        text.startswith("{") and text.endswith("}") and "{" not in text[1:] and text.count("}") == 1
    ):
        text = text[1:-1].strip()
    return text


def number(text: str) -> Fraction | None:
    """The exact value of a plain number; None for anything else."""
    if len(text) > LONGEST:
        return None
    found = _FRACTION.fullmatch(text)
    if found:
        sign = -1 if found[1] == "-" else 1
        top, bottom = (found[2], found[3]) if found[2] else (found[4], found[5])
        return sign * Fraction(int(top), int(bottom)) if int(bottom) else None
    mixed = _MIXED.fullmatch(text)
    if mixed:
        part = number(f"{mixed[3]}/{mixed[4]}")
        return None if part is None else (int(mixed[2]) + part) * (-1 if mixed[1] == "-" else 1)
    if _DECIMAL.fullmatch(text):
        return Fraction(text.rstrip(".") if text[-1] == "." else text)
    power = _POWER.fullmatch(text)
    if power:
        exponent = int((power[2] or power[3])[:9])
        return (
            Fraction(power[1]) * Fraction(10) ** exponent if abs(exponent) <= MAX_EXPONENT else None
        )
    return None

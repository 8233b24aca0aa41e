"""How a solution is written: briefly (the SLM's style) or at length with checks (the LLM's).

Both end in ``\\boxed{answer}``. The brief style varies where nothing depends on it (a synonym, the
layout, the order of independent steps), so that much of an SLM's uncertainty is harmless. The long
style names each quantity, splits products, checks every step by its inverse and puts a thought
boundary (an empty line) after it. A trace is a list of spans; `learn` is False for text that the
model should read but not imitate (deliberate slips, a prefix someone else wrote).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from rstitch.pairs.recipe.problem import MAX_VALUE, Op, Problem, Step, apply

BOUNDARY = "\n\n"
NOTES: dict[Op, tuple[str, str]] = {
    "+": ("total", "together"),
    "-": ("left", "remaining"),
    "*": ("altogether", "overall"),
    "/": ("each", "apiece"),
}
INVERSE: dict[Op, Op] = {"+": "-", "-": "+", "*": "/", "/": "*"}
OPENERS = ("First, ", "Next, ", "Then, ", "After that, ")
SLIP_RATE = 0.04
OPENING = "So "
SEPARATORS = (". ", ".\n")
FIRST_NUMBER = 0.5
"""Share of the brief traces that the LLM goes on with at the beginning of a step."""

PIECE = re.compile(r" ?\\boxed\{|\d| ?[A-Za-z]+|\n+| ?[^\w\s]+| +")
"""What the tokenizer never merges across: a word with its space, a digit, a run of punctuation."""


@dataclass(frozen=True)
class Span:
    text: str
    learn: bool = True


def conclusion(answer: int | str) -> str:
    """The end of every trace, brief or long."""
    return f"</think>\nThe answer is \\boxed{{{answer}}}."


def order(problem: Problem, rng: random.Random) -> list[Step]:
    """The steps in a random order that respects what each one builds on; the last stays last."""
    todo = list(range(len(problem.steps)))
    done: list[int] = []
    while todo:
        ready = [i for i in todo if all(n in done for n in problem.steps[i].needs)]
        if len(ready) > 1:
            ready = [i for i in ready if i != len(problem.steps) - 1]
        chosen = ready[0] if rng.random() < 0.6 else rng.choice(ready)
        done.append(chosen)
        todo.remove(chosen)
    return [problem.steps[i] for i in done]


def line(step: Step, note: str) -> str:
    """One step of the brief style, without its full stop."""
    return f"{step.a}{step.op}{step.b}={step.value} {step.unit} {note}"


def brief(problem: Problem, rng: random.Random) -> str:
    """``So 47*3=141 eggs altogether. ...``: one line a step, in words and layout that vary."""
    separator = rng.choice(SEPARATORS)
    lines = [line(step, varied_note(step, rng)) for step in order(problem, rng)]
    return OPENING + separator.join(lines) + ".\n" + conclusion(problem.answer)


def varied_note(step: Step, rng: random.Random) -> str:
    return NOTES[step.op][rng.random() < 0.4]


def working(step: Step) -> str:
    """The calculation at length: a product is split into tens and ones, the rest is direct."""
    head = f"{step.a}{step.op}{step.b}="
    if step.op == "*":
        big, small = max(step.a, step.b), min(step.a, step.b)
        tens, ones = big // 10 * 10, big % 10
        if tens and ones and small < 10:
            return f"{head}{tens * small}+{ones * small}={step.value}"
    return f"{head}{step.value}"


def check(step: Step, value: int) -> str | None:
    """The inverse calculation on a claimed value, or None where it leaves the whole numbers."""
    if step.op == "+":
        return f"{value}-{step.b}={value - step.b}" if value > step.b else None
    if step.op == "-":
        return f"{value}+{step.b}={value + step.b}"
    if step.op == "*":
        return None if value % step.b else f"{value}/{step.b}={value // step.b}"
    return f"{value}*{step.b}={value * step.b}"


def slip(step: Step, rng: random.Random) -> int | None:
    """A wrong value one digit off whose check can still be written out, or None."""
    wrong = step.value + rng.choice((-10, 10, -1, 1, -100, 100))
    if step.op == "*":
        wrong = step.value + step.b * rng.choice((-1, 1))
    if wrong <= 0 or check(step, wrong) is None:
        return None
    return wrong


def long_step(step: Step, opener: str, rng: random.Random) -> list[Span]:
    """One step of the long style, ending in a thought boundary."""
    lead = f"{opener}{step.phrase}: "
    right = f"Check: {check(step, step.value)}."
    wrong = slip(step, rng) if rng.random() < SLIP_RATE else None
    if wrong is None:
        return [Span(f"{lead}{working(step)}. {right}{BOUNDARY}")]
    head = working(step)[: -len(str(step.value))]
    found = f"Check: {check(step, wrong)}, not {step.a}. "
    return [
        Span(lead + head),
        Span(str(wrong), learn=False),
        Span(f". {found}Again, {working(step)}. {right}{BOUNDARY}"),
    ]


def long(problem: Problem, rng: random.Random) -> list[Span]:
    """``First, eggs in boxes: 47*6=240+42=282. Check: 282/6=47.`` and so on, step by step."""
    spans: list[Span] = []
    for index, step in enumerate(order(problem, rng)):
        opener = OPENERS[min(index, 1)] if rng.random() < 0.7 else rng.choice(OPENERS[1:])
        spans += long_step(step, OPENERS[0] if index == 0 else opener, rng)
    return [*spans, Span(conclusion(problem.answer))]


def cuts(line: str) -> list[int]:
    """Where a line can be cut: before each of its pieces."""
    return [piece.start() for piece in PIECE.finditer(line)]


def asked_early(spans: list[Span], rng: random.Random) -> list[Span]:
    """A long trace cut at a random boundary and asked for the answer there (early exit)."""
    ends = [i + 1 for i, span in enumerate(spans) if span.text.endswith(BOUNDARY)]
    cut = rng.choice(ends)
    return [*(Span(s.text, learn=False) for s in spans[:cut]), spans[-1]]


def continued(problem: Problem, rng: random.Random) -> list[Span]:
    """A brief trace that someone else began: only the rest is learnt, and in canonical words.

    The prefix varies as an SLM's does; the continuation keeps its layout but not its variety (first
    note of each pair, steps in the order of the problem), so a sure LLM hands back at once. Every
    other one begins with a step's first number, because that is where an SLM is least sure.
    """
    separator = rng.choice(SEPARATORS)
    steps = order(problem, rng)
    at = rng.randrange(len(steps))
    done = [line(step, varied_note(step, rng)) for step in steps[: at + 1]]
    places = [*cuts(done[at]), len(done[at])]
    cut = 0 if rng.random() < FIRST_NUMBER else rng.choice(places)
    prefix = OPENING + separator.join([*done[:at], done[at][:cut]])
    if not at:
        separator = SEPARATORS[0]
    begun = steps[at : at + 1] if cut else []  # else even this step is the LLM's choice
    todo = sorted(steps[at + len(begun) :], key=problem.steps.index)
    lines = [line(step, NOTES[step.op][0]) for step in [*begun, *todo]]
    rest = separator.join([lines[0][cut:] if cut < len(done[at]) else "", *lines[1:]])
    return [Span(prefix, learn=False), Span(rest + ".\n" + conclusion(problem.answer))]


def drill(rng: random.Random, n: int = 14) -> list[Span]:
    """Bare sums, products and their inverses, to learn arithmetic where it costs few tokens.

    Only results are learnt: the numbers before them are random, and learning noise costs.
    """
    spans: list[Span] = []
    for _ in range(n):
        op: Op = rng.choice(("+", "-", "*", "/"))
        a, b = operands(op, rng)
        spans += [Span(f"{a}{op}{b}=", learn=False), Span(f"{apply(op, a, b)}. ")]
    return spans


def operands(op: Op, rng: random.Random) -> tuple[int, int]:
    """Numbers as wide as those of the problems: half of the differences start above MAX_VALUE,
    and some are small although both numbers are large."""
    if op == "*":
        b = rng.randint(2, 9)
        return rng.randint(2, MAX_VALUE // b), b
    if op == "/":
        b = rng.randint(2, 9)
        return b * rng.randint(2, MAX_VALUE // b), b
    b = rng.randint(2, rng.choice((99, MAX_VALUE - 2)))
    if op == "+":
        return rng.randint(2, MAX_VALUE - b), b
    return b + rng.randint(1, rng.choice((20, MAX_VALUE, MAX_VALUE))), b

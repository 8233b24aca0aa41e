"""The second task: one answer each, traces that a solver of its own agrees with, splits."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from itertools import permutations

import pytest

from rstitch.evals import tasks
from rstitch.evals.grade import is_right
from rstitch.evals.verify import Verifier
from rstitch.pairs.recipe.order.drill import drill
from rstitch.pairs.recipe.order.problem import DEEPER, KINDS, SIZES, Problem, draw_problem, placed
from rstitch.pairs.recipe.order.relations import PLACES, Relation
from rstitch.pairs.recipe.order.splits import SPLITS, problems
from rstitch.pairs.recipe.order.traces import BEGINNINGS, BETWEEN, ORDINALS, brief, continued, long
from rstitch.pairs.recipe.splits import part_of

LEVELS = {**SIZES, **DEEPER}


@lru_cache
def some() -> list[Problem]:
    """Five of each relation and level."""
    rng = random.Random(0)
    return [draw_problem(kind, level, rng) for kind in KINDS for level in LEVELS for _ in range(5)]


def solved(question: str, kind: Relation) -> tuple[list[tuple[str, ...]], str]:
    """All orders that the sentences allow, read from the words alone, and what is asked."""
    _, *told, asked = re.split(r"(?<=[.?]) ", question)
    pairs = [pair for sentence in told for pair in compared(sentence, kind)]
    things = sorted({thing for pair in pairs for thing in pair})
    found = [
        order
        for order in permutations(things)
        if all(order.index(first) < order.index(second) for first, second in pairs)
    ]
    return found, asked


def compared(sentence: str, kind: Relation) -> list[tuple[str, str]]:
    """(earlier, later) of "Ana is older than Ben but younger than Cleo."."""
    subject, rest = sentence.rstrip(".").split(f" {kind.verb} ", 1)
    found = []
    for part in rest.split(" but "):
        more = part.startswith(kind.more)
        thing, other = (
            text.strip().lower().removeprefix("the ")
            for text in (subject, part.removeprefix(kind.more if more else kind.less))
        )
        found.append((thing, other) if more else (other, thing))
    return found


def answer(problem: Problem) -> str:
    """By the solver alone."""
    kind = KINDS[problem.kind]
    (order,), asked = solved(problem.question, kind)
    found = order[PLACES[kind.questions.index(asked)]]
    return next(thing for thing in kind.things if thing.lower() == found)


def test_every_problem_has_one_order_and_one_answer() -> None:
    for problem in some():
        if problem.level < 7:  # of 7 things there are 5,040 orders
            assert answer(problem) == problem.answer, problem.question


def test_levels_are_as_large_as_they_say_and_odd_orders_of_statements_occur() -> None:
    for problem in some():
        size, shuffled = LEVELS[problem.level]
        assert len(problem.order) == size == len(problem.statements) + 1
        order: tuple[str, ...] = ()
        try:
            for statement in problem.statements:
                order = placed(order, statement)
            assert order == problem.order
        except ValueError as error:
            assert shuffled and "things without a place" in str(error)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_relations_have_a_question_for_each_place_and_things_for_the_deepest(
    kind: Relation,
) -> None:
    assert len(kind.questions) == len(set(kind.questions)) == len(PLACES)
    assert len(set(kind.things)) == len(kind.things) >= max(size for size, _ in LEVELS.values())
    assert not kind.more.startswith(kind.less) and not kind.less.startswith(kind.more)


def test_drills_learn_what_follows_from_the_text_before_them() -> None:
    """Repeats repeat, placings agree with the statements so far, what is looked up was told."""
    counts = {"repeated": 0, "grown": 0, "looked up": 0}
    for index in range(120):
        spans = drill(random.Random(index))
        if spans[0].text.startswith("Next, "):
            counts["grown"] += 1
            told = [one.text.removeprefix("Next, ").rstrip(":") for one in spans[::2]]
            kind = next(k for k in KINDS.values() if any(k.more in t or k.less in t for t in told))
            compares = [pair for one in told for pair in compared(one, kind)]
            for order in (re.split(r", | then ", one.text.strip(" .\n")) for one in spans[1::2]):
                here = [pair for pair in compares if set(pair) <= {t.lower() for t in order}]
                low = [thing.lower() for thing in order]
                assert here and all(low.index(a) < low.index(b) for a, b in here)
        elif "?" in spans[0].text:
            counts["looked up"] += 1
            told = re.split(r"(?<=[.?]) ", spans[0].text.lower())[1:-1]
            found = [a.text + b.text for a, b in zip(spans[1::2], spans[2::2], strict=True)]
            assert sorted(one.removeprefix("\nNext, ").lower() for one in found) == sorted(told)
            assert [one.learn for one in spans[1:]] == [False, True] * len(told)
        else:
            counts["repeated"] += 1
            assert {one.text for one in spans[1:]} == {spans[0].text}
            assert [one.learn for one in spans] == [False, True, True]
    assert min(counts.values()) >= 10  # of 120, a quarter at least: four deviations below 30


def orders_in(text: str) -> list[tuple[str, ...]]:
    """What the lines of a brief trace, or the steps of a long one, say the order is."""
    steps = text.split("From the")[0]
    found = re.findall(r": ([^.:]+)\.(?: Check|\n(?!\n))", steps)
    return [tuple(re.split(r", | then ", one)) for one in found]


def test_each_step_of_a_trace_is_an_order_of_things_told_so_far() -> None:
    """Every line is the whole order without what has no place yet, and one thing longer."""
    rng = random.Random(1)
    for problem in some():
        for text in (brief(problem, rng), "".join(one.text for one in long(problem, rng))):
            lines = orders_in(text)
            assert [len(line) for line in lines] == list(range(2, len(problem.order) + 1))
            for line in lines:
                assert line == tuple(thing for thing in problem.order if thing in line)
            assert is_right(text, problem.answer)


def test_checks_name_the_thing_and_its_neighbours() -> None:
    for problem in some():
        text = "".join(one.text for one in long(problem, random.Random(0)))
        checks = re.findall(r"Check: ([^.]+)\.", text)
        assert len(checks) == len(problem.statements)
        for check in checks:
            near = check.split(" before ")
            assert len(near) in (2, 3)
            assert " ".join(near) in " ".join(t for t in problem.order if t in near)


def test_the_count_ends_with_what_is_asked_for() -> None:
    for problem in some():
        line = re.search(r"From the (\w+), the (\w+): (.+)\.\n", brief(problem, random.Random(0)))
        assert line is not None
        order = problem.order[::-1] if line[1] == "end" else problem.order
        count, things = zip(*(part.split() for part in line[3].split(", ")), strict=True)
        assert count == ORDINALS[: len(count)] and count[-1] == line[2]
        assert things == order[: len(things)] and things[-1] == problem.answer


def test_what_someone_else_began_is_gone_on_with_to_the_right_answer() -> None:
    """The whole is a brief trace, whatever the cut; what is learnt has no choice of words."""
    for index, problem in enumerate(some()):
        prefix, rest = continued(problem, random.Random(index))
        assert rest.learn and not prefix.learn
        whole = prefix.text + rest.text
        lines = orders_in(whole)
        assert lines[-1] == problem.order
        assert [len(line) for line in lines] == list(range(2, len(problem.order) + 1))
        assert is_right(whole, problem.answer)
        told = " ".join(re.findall(r":([^:\n]*)\n", whole.split("From the")[0]))
        begun = {line.split()[0] for line in rest.text.split("From the")[0].split("\n")[1:-1]}
        assert begun <= {BEGINNINGS[0]}
        assert len({between for between in BETWEEN if f"{between} " in told}) == 1


def test_the_cut_falls_everywhere() -> None:
    """Of 1,000: at the start of a line, before the next thing, in an order, at the line's end."""
    problem = draw_problem("age", 6, random.Random(0))
    ends = [continued(problem, random.Random(index))[0].text for index in range(1000)]
    last = [end.rpartition("\n")[2] for end in ends]
    assert "" in last and "So" in last
    assert any(re.fullmatch(r"\w+ \w+", line) for line in last)
    assert any(re.search(r": .*\w$", line) for line in last)
    assert any(line.endswith(".") for line in last)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_deterministic_and_tells_nothing_twice(split: str) -> None:
    first = problems(split, 200)
    assert first == problems(split, 200)
    assert len({(one.kind, one.told) for one in first}) == 200
    assert {one.level for one in first} == set(SPLITS[split].levels)
    part = SPLITS[split].part
    assert part is None or {part_of(one.kind, one.told) for one in first} == {part}
    assert problems(split, 50, seed=1) != first[:50]


def test_a_split_does_not_depend_on_words_or_on_what_is_asked() -> None:
    """One order and the same statements: two wordings, two questions, one split."""
    found: dict[tuple[str, ...], set[str]] = {}
    rng = random.Random(0)
    for _ in range(3000):
        one = draw_problem("age", 1, rng)
        found.setdefault(one.told, set()).add(one.question)
    assert any(len(questions) > 1 for questions in found.values())


def test_the_task_by_its_name() -> None:
    task = tasks.make("order-test")
    found, drawn = task.problems(), problems("order-test", 20)
    assert [one.text for one in found[:20]] == [one.question for one in drawn]
    assert (found[3].id, found[3].group) == ("order-test-00003", f"level {drawn[3].level}")
    for one in found[:50]:
        gold = f"\\boxed{{{one.answer}}}"
        assert task.is_right(one, gold, Verifier(), False)
        assert not task.is_right(one, f"\\boxed{{{one.answer}s}}", Verifier(), False)
    assert tasks.make("order-dev").problems()[0].text != found[0].text
    assert {one.group for one in tasks.make("order-ood-depth").problems()} == {"level 7", "level 8"}

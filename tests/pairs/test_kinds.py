"""The kinds of problem hold what traces and splits rely on: exact steps, operands and wordings."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from rstitch.pairs.recipe.kinds import KINDS, OOD_KINDS, TRAINED, draw_problem
from rstitch.pairs.recipe.kinds.running import Story
from rstitch.pairs.recipe.problem import MAX_VALUE, Draw, Problem, apply

LEVELS = range(1, 9)
STORIES = [kind for kind in KINDS.values() if isinstance(kind, Story)]


def drawn(kind: str, count: int = 6) -> Iterator[Problem]:
    rng = random.Random(f"kinds/{kind}")
    for level in LEVELS:
        for index in range(count):
            yield draw_problem(kind, level, rng, held_out_wording=index % 3 == 2)


def masked(kind: str, *, held_out: bool, count: int = 20) -> set[str]:
    rng = random.Random(f"masked/{kind}/{held_out}")
    return {
        re.sub(r"\d+", "#", draw_problem(kind, level, rng, held_out_wording=held_out).question)
        for level in LEVELS
        for _ in range(count)
    }


def test_thirty_trained_and_six_not() -> None:
    assert len(KINDS) == 36
    assert len(TRAINED) == 30
    assert len(OOD_KINDS) == 6
    assert set(TRAINED) | OOD_KINDS == set(KINDS)
    assert sum(isinstance(KINDS[name], Story) for name in OOD_KINDS) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_exact(kind: str) -> None:
    for problem in drawn(kind):
        assert problem.kind == kind
        assert len(problem.steps) == Draw(random.Random(0), problem.level).n_steps
        assert problem.answer == problem.steps[-1].value
        for step in problem.steps:
            assert apply(step.op, step.a, step.b) == step.value
            assert 1 <= step.value <= MAX_VALUE
            assert all(1 <= operand <= 999 for operand in (step.a, step.b))
            if step.op == "*":
                assert 2 <= step.a <= 99
                assert 2 <= step.b <= 9
            if step.op == "/":
                assert 2 <= step.b <= 9


@pytest.mark.parametrize("kind", KINDS)
def test_operands_come_from_the_question_or_from_needed_steps(kind: str) -> None:
    for problem in drawn(kind):
        in_text = [int(digits) for digits in re.findall(r"\d+", problem.question)]
        assert tuple(in_text) == problem.numbers
        used: set[int] = set()
        read: set[int] = set()
        for index, step in enumerate(problem.steps):
            assert all(0 <= need < index for need in step.needs)
            used |= set(step.needs)
            given = [problem.steps[need].value for need in step.needs]
            for operand in (step.a, step.b):
                if operand in given:
                    given.remove(operand)
                else:
                    assert operand in problem.numbers
                    read.add(operand)
            assert not given
        assert used == set(range(len(problem.steps) - 1))
        assert set(problem.numbers) - read <= {step.value for step in problem.steps}


@pytest.mark.parametrize("kind", KINDS)
def test_units_and_phrases_are_short_and_plain(kind: str) -> None:
    for problem in drawn(kind):
        for step in problem.steps:
            assert re.fullmatch(r"[a-z]+s", step.unit)
            assert re.fullmatch(r"[A-Za-z]+( [A-Za-z]+){1,3}", step.phrase)
        assert re.fullmatch(r"[A-Za-z0-9 ,.;:?']+\?", problem.question)
        assert "  " not in problem.question


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_wordings_differ(kind: str) -> None:
    assert masked(kind, held_out=False).isdisjoint(masked(kind, held_out=True))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_stories_have_distinct_wordings_and_at_least_three_ops(story: Story) -> None:
    lists = [story.openings, story.questions, *(event.wordings for event in story.events)]
    assert all(len(wordings) >= 3 for wordings in lists)
    sentences = [sentence for wordings in lists for sentence in wordings]
    assert len(sentences) == len(set(sentences))
    assert all("{b}" in w for event in story.events for w in event.wordings)
    assert 4 <= len(story.events) <= 6
    assert len({event.op for event in story.events}) >= 3


def test_kinds_never_trained_share_no_text_with_trained_ones() -> None:
    trained = {
        t for k in TRAINED for held in (False, True) for t in masked(k, held_out=held, count=4)
    }
    never = {
        t for k in OOD_KINDS for held in (False, True) for t in masked(k, held_out=held, count=4)
    }
    assert trained.isdisjoint(never)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_tries_give_a_problem(kind: str) -> None:
    """More than one try in twenty gives a problem, so that a training run never waits for one."""
    rng = random.Random(f"rate/{kind}")
    for level in LEVELS:
        accepted = 0
        for _ in range(200):
            try:
                KINDS[kind](Draw(rng, level))
            except ValueError:
                continue
            accepted += 1
        assert accepted > 10


def test_draws_repeat_under_a_seed() -> None:
    first, second = (draw_problem("packing", 6, random.Random(3)) for _ in range(2))
    assert first == second

"""Shaped kinds about comparing and keeping pace: shells, ages of trees, pages of a book."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.running import NAMES
from rstitch.pairs.recipe.kinds.working import Amount, Got, Working, below, pairs, plain
from rstitch.pairs.recipe.problem import Draw, Op, Problem

TREES = ("oak", "pine", "elm", "birch", "maple", "willow")
MORE: dict[Op, str] = {"+": "{} more than", "-": "{} fewer than", "*": "{} times as many as"}
OLDER: dict[Op, str] = {
    "+": "{} years older than",
    "-": "{} years younger than",
    "*": "{} times as old as",
}


def related(sheet: Working, amount: Amount, phrase: str, limit: int) -> tuple[Op, int, Got]:
    """An amount so much more, less or times as much as another: how, by what, and the step."""
    draw, value = sheet.draw, plain(amount)
    how: list[Op] = ["+", "-"] if value > (30 if draw.large else 6) else ["+"]
    if 10 <= value <= 99 and value * (3 if draw.large else 2) <= limit:
        how.append("*")
    op = draw.rng.choice(how)
    if op == "*":
        by = min(draw.times(), limit // value)
    else:
        by = below(draw, min(value, 100) if op == "-" else 100)
    return op, by, sheet.step(op, amount, by, phrase)


def compare_people(draw: Draw) -> Problem:
    """Each has more, fewer or times as many as someone before; then all together."""
    sheet = Working("compare_people", draw, "shells")
    names = draw.rng.sample(NAMES, draw.n_steps // 2 + 1)
    have: list[Amount] = [draw.count()]
    sheet.say(
        "{who} finds {a} shells.",
        "{who} has {a} shells.",
        "There are {a} shells in the hand of {who}.",
        who=names[0],
        a=plain(have[0]),
    )
    for name in names[1:]:
        other = draw.rng.randrange(len(have))
        op, by, got = related(sheet, have[other], f"shells of {name}", 800 // len(names))
        have.append(got)
        sheet.say(
            "{who} has {much} {other}.",
            "{who} finds {much} {other}.",
            "For {who} it is {much} for {other}.",
            who=name,
            much=MORE[op].format(by),
            other=names[other],
        )
    total = sheet.total(have, "shells together")
    if draw.n_steps % 2 == 0:
        return sheet.ask(
            "How many shells do they have together?",
            "How many shells is that in all?",
            "What is the number of all their shells?",
        )
    return _shells_kept(sheet, total, below(draw, total.value))


def _shells_kept(sheet: Working, total: Got, given: int) -> Problem:
    sheet.event(
        "-",
        total,
        given,
        "shells kept",
        "Together they give {b} shells away.",
        "They lose {b} of all these shells.",
        "In all they throw {b} shells back.",
    )
    return sheet.ask(
        "How many shells are left together?",
        "How many shells do they still have together?",
        "What number of shells do they have together in the end?",
    )


def tree_ages(draw: Draw) -> Problem:
    """Two chains of comparisons from one tree, and the sum or difference of their ends."""
    sheet = Working("tree_ages", draw, "years")
    trees = draw.rng.sample(TREES, draw.n_steps)
    first = draw.count()
    sheet.say(
        "The {tree} in a park is {a} years old.",
        "In a park the {tree} is {a} years old.",
        "The age of the {tree} in a park is {a} years.",
        tree=trees[0],
        a=first,
    )
    ends: list[tuple[str, Amount]] = [(trees[0], first)] * 2
    for index, tree in enumerate(trees[1:]):
        other, age = ends[index % 2]
        op, by, got = related(sheet, age, f"age of {tree}", 400)
        sheet.say(
            "The {tree} is {much} the {other}.",
            "In the park the {tree} is {much} the {other}.",
            "The {tree} there is {much} the {other}.",
            tree=tree,
            much=OLDER[op].format(by),
            other=other,
        )
        ends[index % 2] = (tree, got)
    (old, age), (young, years) = sorted(ends, key=lambda end: -plain(end[1]))
    if draw.n_steps == 2 or draw.rng.random() < 0.5:
        sheet.step("+", age, years, "sum of ages")
        return sheet.ask(
            "What is the sum of the ages of the {old} and the {young}?",
            "How many years old are the {old} and the {young} together?",
            "How many years are the ages of the {old} and the {young} in all?",
            old=old,
            young=young,
        )
    sheet.step("-", age, years, "difference in age")
    return sheet.ask(
        "How many years older is the {old} than the {young}?",
        "By how many years is the {young} younger than the {old}?",
        "What is the number of years between the ages of the {old} and the {young}?",
        old=old,
        young=young,
    )


def reading(draw: Draw) -> Problem:
    """Pages read at a pace, what is left of the book, and the pace for the rest."""
    n = draw.n_steps
    sheet = Working("reading", draw, "pages")
    paces = pairs(draw, 1 if n <= 3 else 2, 700)
    items = [f"{pace} pages a day for {days} days" for pace, days in paces]
    phrases = ["pages read first", "pages read later"][: len(paces)]
    pages = sheet.sum_of_products(paces, phrases, "pages read")
    sheet.say(
        "{name} reads {items}.",
        "At home {name} reads {items}.",
        "So far {name} has read {items}.",
        items=" and then ".join(items),
    )
    if n == 6:
        pages = sheet.event(
            "+",
            pages,
            draw.part(),
            "pages with Sunday",
            "Sunday adds {b} pages.",
            "On Sunday {name} reads {b} more pages.",
            "Another {b} pages are read on Sunday.",
        )
    by = draw.times()
    book = pages.value + draw.rng.randint(2, 40) * by
    rest = sheet.step("-", book, pages, "pages left")
    sheet.say_first(
        "{name}'s book has {book} pages.",
        "A book has {book} pages.",
        "There are {book} pages in a book.",
        book=book,
    )
    if n in (2, 4):
        return sheet.ask(
            "How many pages are left?",
            "How many pages must {name} still read?",
            "What number of pages is still left?",
        )
    return _read_evenly(sheet, rest, by)


def _read_evenly(sheet: Working, rest: Got, by: int) -> Problem:
    sheet.event(
        "/",
        rest,
        by,
        "pages per day",
        "The rest is read evenly in {b} days.",
        "{name} splits the rest evenly over {b} days.",
        "For the rest {name} takes {b} days with equally many pages.",
    )
    return sheet.ask(
        "How many pages a day is that for the rest?",
        "How many pages does {name} read on each of these days?",
        "What is the number of pages for each of these days?",
    )


PEOPLE = (compare_people, tree_ages, reading)

"""The shaped kinds that are never trained on: they measure whether structure carries over."""

from __future__ import annotations

from collections.abc import Sequence

from rstitch.pairs.recipe.kinds.working import Got, Working, below, below_for, listed, pairs, plain
from rstitch.pairs.recipe.problem import Draw, Problem

PAINTS = ("blue", "red")


def paint_mix(draw: Draw) -> Problem:
    """Cans of paint mixed with some white, some of it lost, the rest shared among walls."""
    n = draw.n_steps
    sheet = Working("paint_mix", draw, "liters")
    paint = _mixed(sheet)
    by = draw.times()
    if n != 5:
        white = draw.part()
        paint = sheet.event(
            "+",
            paint,
            white + -(paint.value + white) % by,
            "liters with white",
            "{name} adds {b} liters of white.",
            "{b} liters of white are added.",
            "Another {b} liters of white go in.",
        )
    if n > 3:
        paint = sheet.event(
            "-",
            paint,
            below_for(draw, paint.value, by),
            "liters still there",
            "{b} liters leak out.",
            "{name} loses {b} liters.",
            "{b} of the liters are lost.",
        )
    if n == 2:
        return sheet.ask(
            "How many liters of paint are there?",
            "How many liters of paint is that in all?",
            "What is the number of liters in all?",
        )
    return _painted(sheet, paint, by)


def _mixed(sheet: Working) -> Got:
    """The opening of `paint_mix`: the liters in all cans."""
    draw = sheet.draw
    cans = pairs(draw, 1 if draw.n_steps <= 4 else 2, 800)
    paints = draw.rng.sample(PAINTS, len(cans))
    items = [
        f"{many} cans of {paint} paint with {liters} liters each"
        for (liters, many), paint in zip(cans, paints, strict=True)
    ]
    sheet.say(
        "{name} mixes {items}.",
        "{name} brings {items}.",
        "{name} opens {items}.",
        items=listed(items),
    )
    return sheet.sum_of_products(cans, [f"liters of {p}" for p in paints], "liters of color")


def _painted(sheet: Working, paint: Got, by: int) -> Problem:
    sheet.event(
        "/",
        paint,
        by,
        "liters per wall",
        "The paint is split evenly over {b} walls.",
        "{b} walls get equal parts of the paint.",
        "The paint goes evenly on {b} walls.",
    )
    return sheet.ask(
        "How many liters does each wall get?",
        "How many liters are used for each wall?",
        "What is the number of liters for each wall?",
    )


def team_points(draw: Draw) -> Problem:
    """Two teams with points per game, a bonus and fouls; how far apart they end."""
    n = draw.n_steps
    sheet = Working("team_points", draw, "points")
    sides = ("red",) if n == 2 else ("red", "blue")
    totals = _games(sheet, sides)
    if n == 6:
        totals[0] = sheet.event(
            "+",
            totals[0],
            draw.part(),
            "red with bonus",
            "A bonus of {b} points goes to team red.",
            "Team red gets a bonus of {b} points.",
            "The bonus for team red is {b} points.",
        )
    for index, side in enumerate(sides[: {2: 1, 3: 0, 4: 1}.get(n, 2)]):
        totals[index] = sheet.event(
            "-",
            totals[index],
            below(draw, totals[index].value),
            f"{side} after fouls",
            f"For fouls team {side} loses {{b}} points.",
            f"Fouls cost team {side} {{b}} points.",
            f"{{b}} points are taken from team {side} for fouls.",
        )
    if n == 2:
        return sheet.ask(
            "How many points does team red have?",
            "How many points are left for team red?",
            "With how many points does team red end?",
        )
    low, high = sorted(totals, key=plain)
    sheet.step("-", high, low, "points between teams")
    return sheet.ask(
        "By how many points does the better team lead?",
        "How many points apart are the teams?",
        "How many points are between the teams?",
    )


def _games(sheet: Working, sides: Sequence[str]) -> list[Got]:
    """The opening of `team_points`: what each side wins."""
    won = pairs(sheet.draw, len(sides))
    for (points, games), side in zip(won, sides, strict=True):
        sheet.say(
            "Team {side} gets {points} points in each of {games} games.",
            "In {games} games team {side} makes {points} points each.",
            "There are {games} games with {points} points each for team {side}.",
            side=side,
            points=points,
            games=games,
        )
    return sheet.products(won, [f"points of {side}" for side in sides])


def flight_time(draw: Draw) -> Problem:
    """Hours and minutes of two flights, turned into minutes by a rate the text gives."""
    n = draw.n_steps
    sheet = Working("flight_time", draw, "minutes")
    sheet.say(
        "An hour has 60 minutes.", "There are 60 minutes in an hour.", "Each hour is 60 minutes."
    )
    hours, minutes = draw.rng.randint(2, 3), draw.rng.randint(5, 59)
    sheet.say(
        "A flight takes {hours} hours and {minutes} minutes.",
        "A plane flies for {hours} hours and {minutes} minutes.",
        "The time of a flight is {hours} hours and {minutes} minutes.",
        hours=hours,
        minutes=minutes,
    )
    there = sheet.step("*", 60, hours, "hours in minutes")
    total = sheet.step("+", there, minutes, "minutes flying out")
    if n >= 4:
        total = sheet.step("+", total, _flight_back(sheet), "minutes both ways")
    if n in (2, 4, 5):
        return sheet.ask(
            "How many minutes of flying is that in all?",
            "How many minutes is the plane in the air?",
            "What is the number of minutes in the air?",
        )
    sheet.event(
        "-",
        total,
        below(draw, total.value),
        "minutes awake",
        "In the air {name} sleeps for {b} minutes.",
        "{name} flies along and sleeps {b} minutes of this time.",
        "For {b} minutes of this time {name} is asleep.",
    )
    return sheet.ask(
        "How many minutes in the air is {name} awake?",
        "How many minutes of flying is {name} awake?",
        "What is the number of minutes {name} is awake in the air?",
    )


def _flight_back(sheet: Working) -> Got:
    """The way back: hours alone in four-step problems, with minutes in longer ones."""
    hours = sheet.draw.rng.randint(2, 3)
    back = sheet.step("*", 60, hours, "hours back in minutes")
    text = f"{hours} hours"
    if sheet.draw.n_steps >= 5:
        minutes = sheet.draw.rng.randint(5, 59)
        back = sheet.step("+", back, minutes, "minutes flying back")
        text += f" and {minutes} minutes"
    sheet.say(
        "The way back takes {text}.",
        "The flight back takes {text}.",
        "Flying back takes {text}.",
        text=text,
    )
    return back


HELD_OUT = (paint_mix, team_points, flight_time)

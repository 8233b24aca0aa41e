"""Shaped kinds about money: bills, wages, tickets, savings. Sums of products with something off."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.working import (
    Got,
    Working,
    below,
    below_for,
    divisor,
    listed,
    pairs,
)
from rstitch.pairs.recipe.problem import Draw, Problem

GOODS = ("pens", "lamps", "cups", "caps", "bags", "mugs")
JOBS = ("cook", "driver", "guard", "painter", "farmer")
GUESTS = ("child", "adult", "student", "group")


def shopping_bill(draw: Draw) -> Problem:
    """Several goods at a price each, then the sum, then perhaps a discount."""
    sheet = Working("shopping_bill", draw, "dollars")
    bought = pairs(draw, (draw.n_steps + 1) // 2)
    goods = draw.rng.sample(GOODS, len(bought))
    items = [
        f"{n} {g} at {price} dollars each" for (price, n), g in zip(bought, goods, strict=True)
    ]
    total = sheet.sum_of_products(bought, [f"cost of {good}" for good in goods], "sum of costs")
    sheet.say(
        "A school buys {items}.",
        "A club orders {items}.",
        "The bill of a school lists {items}.",
        items=listed(items),
    )
    if draw.n_steps % 2 == 0:
        sheet.event(
            "-",
            total,
            below(draw, total.value),
            "price after discount",
            "The shop takes {b} dollars off.",
            "A voucher pays {b} dollars of it.",
            "The shop then cuts the bill by {b} dollars.",
        )
    return sheet.ask(
        "How much must be paid?",
        "How many dollars are left to pay?",
        "How many dollars must be paid in the end?",
    )


def wages(draw: Draw) -> Problem:
    """Hours at rates, then a bonus on top and tax off."""
    sheet = Working("wages", draw, "dollars")
    work = pairs(draw, draw.n_steps // 2, 900)
    jobs = draw.rng.sample(JOBS, len(work))
    items = [
        f"{hours} hours as a {job} at {rate} dollars an hour"
        for (rate, hours), job in zip(work, jobs, strict=True)
    ]
    total = sheet.sum_of_products(work, [f"pay as {job}" for job in jobs], "pay for all work")
    sheet.say(
        "{name} works {items}.",
        "This week {name} works {items}.",
        "The week of {name} has {items}.",
        items=listed(items),
    )
    both = draw.n_steps % 2 == 1
    bonus = both or draw.rng.random() < 0.5
    if bonus:
        total = sheet.event(
            "+",
            total,
            draw.part(),
            "pay with bonus",
            "A bonus adds {b} dollars.",
            "A bonus brings {b} more dollars.",
            "On top comes a bonus of {b} dollars.",
        )
    if both or not bonus:
        sheet.event(
            "-",
            total,
            below(draw, total.value),
            "pay after tax",
            "Tax takes {b} dollars away.",
            "{b} dollars are paid in tax.",
            "The tax on it is {b} dollars.",
        )
    return sheet.ask(
        "How many dollars does {name} get?",
        "How much money does {name} have then?",
        "What is the pay of {name} in the end?",
    )


def tickets(draw: Draw) -> Problem:
    """Tickets of several prices, a cost off, and the rest shared."""
    sheet = Working("tickets", draw, "dollars")
    sold = pairs(draw, draw.n_steps // 2)
    guests = draw.rng.sample(GUESTS, len(sold))
    items = [
        f"{n} {guest} tickets at {price} dollars each"
        for (n, price), guest in zip(sold, guests, strict=True)
    ]
    sheet.say(
        "A circus sells {items}.",
        "For a show a circus sells {items}.",
        "A circus sold {items}.",
        items=listed(items),
    )
    phrases = [f"money from {guest} tickets" for guest in guests]
    total = sheet.sum_of_products(sold, phrases, "money from tickets")
    by = draw.times()
    if draw.n_steps in (2, 3, 5):
        total = sheet.event(
            "-",
            total,
            below_for(draw, total.value, by),
            "money after cost",
            "The band costs {b} dollars.",
            "{b} dollars are paid to the band.",
            "The band gets {b} dollars of it.",
        )
    else:
        by = divisor(draw, total.value)
    if draw.n_steps == 2:
        return sheet.ask(
            "How many dollars are left?",
            "How much money remains?",
            "What number of dollars is left in the end?",
        )
    return _shared_by_clubs(sheet, total, by)


def _shared_by_clubs(sheet: Working, total: Got, by: int) -> Problem:
    money = "the rest" if sheet.steps[-1].op == "-" else "the money"
    sheet.event(
        "/",
        total,
        by,
        "money per club",
        f"{{b}} clubs share {money} equally.",
        f"Then {money} goes evenly to {{b}} clubs.",
        f"In the end {money} is split evenly among {{b}} clubs.",
    )
    return sheet.ask(
        "How many dollars does each club get?",
        "How much money goes to each club?",
        "What is the share of each club in dollars?",
    )


def savings(draw: Draw) -> Problem:
    """Money at hand, some earned each week, some spent on trips and on a bike."""
    n = draw.n_steps
    sheet = Working("savings", draw, "dollars")
    money = _earned(sheet)
    if n in (5, 6):
        money = sheet.event(
            "+",
            money,
            draw.part(),
            "money with gift",
            "Grandma gives {name} {b} dollars.",
            "Grandma sends {b} more dollars.",
            "Another {b} dollars come from Grandma.",
        )
    if n >= 4:
        ((fare, trips),) = pairs(draw, 1, money.value * 2 // 3)
        spent = sheet.step("*", fare, trips, "money for trips")
        money = sheet.step("-", money, spent, "money after trips")
        sheet.say(
            "Then {trips} trips cost {fare} dollars each.",
            "{name} pays for {trips} trips at {fare} dollars each.",
            "{name} goes on {trips} trips and pays {fare} dollars for each.",
            trips=trips,
            fare=fare,
        )
    if n in (3, 6):
        sheet.event(
            "-",
            money,
            below(draw, money.value),
            "money after bike",
            "A bike costs {name} {b} dollars.",
            "{name} buys a bike for {b} dollars.",
            "{name} pays {b} dollars for a bike.",
        )
    return sheet.ask(
        "How many dollars does {name} have now?",
        "How much money does {name} have in the end?",
        "What is the money of {name} at the end?",
    )


def _earned(sheet: Working) -> Got:
    """The opening of `savings`: what there was and what some weeks bring, two steps."""
    had = sheet.draw.count()
    ((rate, weeks),) = pairs(sheet.draw, 1, 750)
    sheet.say(
        "{name} has {had} dollars.",
        "{name} owns {had} dollars.",
        "At the start {name} has {had} dollars.",
        had=had,
    )
    sheet.say(
        "For {weeks} weeks {name} earns {rate} dollars a week by walking dogs.",
        "Walking dogs brings {rate} dollars a week for {weeks} weeks.",
        "Then {name} walks dogs for {weeks} weeks and gets {rate} dollars each week.",
        weeks=weeks,
        rate=rate,
    )
    earned = sheet.step("*", rate, weeks, "money earned")
    return sheet.step("+", earned, had, "money in all")


MONEY = (shopping_bill, wages, tickets, savings)

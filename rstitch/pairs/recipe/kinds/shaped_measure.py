"""Shaped kinds about measures and numbers of things: roads, tiles, boxes, pots, seats."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.working import (
    Amount,
    Got,
    Working,
    below,
    below_for,
    divisor,
    listed,
    pairs,
)
from rstitch.pairs.recipe.problem import Draw, Problem

LEGS = ("car", "bus", "truck", "boat")
FLOORS = ("kitchen", "hall", "school")
FOODS = ("rice", "beans", "corn", "nuts")


def road_trip(draw: Draw) -> Problem:
    """Legs at a speed for some hours, and perhaps how far it still is."""
    sheet = Working("road_trip", draw, "miles")
    legs = pairs(draw, (draw.n_steps + 1) // 2, 930)
    cars = draw.rng.sample(LEGS, len(legs))
    items = [
        f"{hours} hours by {car} at {speed} miles an hour"
        for (speed, hours), car in zip(legs, cars, strict=True)
    ]
    far = sheet.sum_of_products(legs, [f"miles by {car}" for car in cars], "miles so far")
    sheet.say(
        "{name} goes {items}.",
        "{name} travels {items}.",
        "The trip of {name} is {items}.",
        items=listed(items),
    )
    if draw.n_steps % 2:
        return sheet.ask(
            "How many miles is that in all?",
            "How many miles does {name} go?",
            "What is the number of miles in all?",
        )
    road = far.value + draw.part()
    sheet.step("-", road, far, "miles to go")
    sheet.say_first(
        "The way to the sea is {road} miles.",
        "It is {road} miles to the sea.",
        "The sea is {road} miles away.",
        road=road,
    )
    return sheet.ask(
        "How many miles are left?",
        "How many miles must {name} still go?",
        "What number of miles is left to the sea?",
    )


def floor_tiles(draw: Draw) -> Problem:
    """Rectangles of tiles, a part that is done, and the rest shared among workers."""
    n = draw.n_steps
    sheet = Working("floor_tiles", draw, "tiles")
    sizes = pairs(draw, 1 if n <= 3 else 2)
    floors = draw.rng.sample(FLOORS, len(sizes))
    for (length, width), floor in zip(sizes, floors, strict=True):
        sheet.say(
            "The {floor} floor is {length} tiles long and {width} tiles wide.",
            "A {floor} floor needs {width} rows of {length} tiles.",
            "For the {floor} floor there are {width} rows with {length} tiles each.",
            floor=floor,
            length=length,
            width=width,
        )
    total = sheet.sum_of_products(sizes, [f"tiles for {floor}" for floor in floors], "tiles needed")
    if n == 6:
        rest = _rows_laid(sheet, total)
        return _shared_by_workers(sheet, rest, divisor(draw, rest.value))
    by = draw.times()
    rest = sheet.event(
        "-",
        total,
        below_for(draw, total.value, by),
        "tiles left",
        "{b} tiles are laid already.",
        "Already laid are {b} tiles.",
        "Of these, {b} are laid already.",
    )
    if n in (3, 5):
        return _shared_by_workers(sheet, rest, by)
    return sheet.ask(
        "How many tiles are still needed?",
        "How many tiles must still be laid?",
        "What number of tiles is still left to lay?",
    )


def _rows_laid(sheet: Working, total: Got) -> Got:
    """The part that is done as a rectangle of its own, two steps."""
    ((row, rows),) = pairs(sheet.draw, 1, total.value * 3 // 4)
    done = sheet.step("*", row, rows, "tiles already laid")
    sheet.say(
        "{rows} rows of {row} tiles are laid already.",
        "Already laid are {rows} rows of {row} tiles.",
        "Of all this, {rows} rows with {row} tiles each are laid already.",
        row=row,
        rows=rows,
    )
    return sheet.step("-", total, done, "tiles left")


def _shared_by_workers(sheet: Working, rest: Got, by: int) -> Problem:
    sheet.event(
        "/",
        rest,
        by,
        "tiles per worker",
        "{b} workers share the rest equally.",
        "The rest is split evenly among {b} workers.",
        "The other tiles go evenly to {b} workers.",
    )
    return sheet.ask(
        "How many tiles does each worker lay?",
        "How many tiles is that for each worker?",
        "What is the number of tiles for each worker?",
    )


def packing(draw: Draw) -> Problem:
    """Toys from several piles, the broken ones out, the rest in boxes, some boxes given away."""
    n = draw.n_steps
    sheet = Working("packing", draw, "toys")
    made = [draw.count() + draw.part() for _ in range(3 if n > 4 else 2)]
    by = draw.times()
    if n == 2:
        made[-1] += -sum(made) % by
    sheet.say(
        "Machines make {piles} toys.",
        "A shop has piles of {piles} toys.",
        "There are piles of {piles} toys.",
        piles=listed([str(m) for m in made]),
    )
    toys = sheet.total(made, "toys made")
    if n > 2:
        toys = sheet.event(
            "-",
            toys,
            below_for(draw, toys.value, by),
            "good toys",
            "{b} toys are broken and thrown away.",
            "{b} broken toys are taken out.",
            "Of these, {b} are broken and taken out.",
        )
    boxes = sheet.step("/", toys, by, "boxes filled", "boxes")
    sheet.say(
        "All other toys go into boxes of {by}." if n > 2 else "All toys go into boxes of {by}.",
        "Boxes are then filled with {by} toys each.",
        "The toys are then put into boxes, {by} in each box.",
        by=by,
    )
    if n > 3:
        return _boxes_given(sheet, boxes)
    return sheet.ask(
        "How many boxes are filled?",
        "How many full boxes are there?",
        "What is the number of full boxes?",
    )


def _boxes_given(sheet: Working, boxes: Got) -> Problem:
    """The end of `packing` where some boxes are given away and the others perhaps sold."""
    sheet.unit = "boxes"
    boxes = sheet.event(
        "-",
        boxes,
        sheet.draw.rng.randint(2, boxes.value - 1),
        "boxes left",
        "{b} boxes are given away.",
        "A school gets {b} of the boxes.",
        "{b} boxes go to a school.",
    )
    if sheet.draw.n_steps < 6:
        return sheet.ask(
            "How many boxes are left?",
            "How many full boxes remain?",
            "What number of boxes is left?",
        )
    sheet.unit = "dollars"
    sheet.event(
        "*",
        boxes,
        sheet.draw.times(),
        "money for boxes",
        "The other boxes are sold at {b} dollars each.",
        "Each box left is sold for {b} dollars.",
        "People buy the other boxes for {b} dollars each.",
    )
    return sheet.ask(
        "How many dollars do the sold boxes bring?",
        "How much money do the sold boxes bring?",
        "How many dollars are paid for the sold boxes?",
    )


def soup(draw: Draw) -> Problem:
    """What goes into one pot, times the pots, less what is there already."""
    n = draw.n_steps
    sheet = Working("soup", draw, "grams")
    pots = _in_pots(sheet)
    if n == 2:
        return sheet.ask(
            "How many grams are needed in all?",
            "How many grams is that together?",
            "What is the number of grams for all pots?",
        )
    by = draw.times()
    rest = sheet.event(
        "-",
        pots,
        below_for(draw, pots.value, by),
        "grams to buy",
        "{b} grams of this are there already.",
        "Of this, {b} grams are at home.",
        "The kitchen has {b} grams of this already.",
    )
    if n == 6:
        return _bought_in_shops(sheet, rest, by)
    return sheet.ask(
        "How many grams must be bought?",
        "How many grams are still needed?",
        "What number of grams is still to buy?",
    )


def _in_pots(sheet: Working) -> Got:
    """The opening of `soup`: what a pot takes, and how many pots."""
    draw = sheet.draw
    foods = draw.rng.sample(FOODS, {2: 2, 3: 2, 4: 3}.get(draw.n_steps, 4))
    parts = [draw.rng.randint(4, 99 // len(foods)) for _ in foods]
    items = [f"{part} grams of {food}" for part, food in zip(parts, foods, strict=True)]
    sheet.say(
        "A pot of soup needs {items}.",
        "Into each pot of soup go {items}.",
        "For each pot of soup take {items}.",
        items=listed(items),
    )
    one_pot = sheet.total(parts, "grams per pot")
    return sheet.event(
        "*",
        one_pot,
        draw.times(),
        "grams for pots",
        "{name} cooks {b} pots.",
        "A school cooks {b} pots.",
        "For a party {b} pots are cooked.",
    )


def _bought_in_shops(sheet: Working, rest: Got, by: int) -> Problem:
    sheet.event(
        "/",
        rest,
        by,
        "grams per shop",
        "The rest is bought evenly in {b} shops.",
        "{b} shops sell equal parts of the rest.",
        "The rest comes in equal parts from {b} shops.",
    )
    return sheet.ask(
        "How many grams come from each shop?",
        "How many grams does each shop sell?",
        "What is the part of each shop in grams?",
    )


def hall_seats(draw: Draw) -> Problem:
    """Rows of seats, the people who sit down, and the seats still free."""
    n = draw.n_steps
    sheet = Working("hall_seats", draw, "seats")
    rows = pairs(draw, 1 if n <= 3 else 2)
    places = ("hall", "balcony")[: len(rows)]
    for (seats, many), place in zip(rows, places, strict=True):
        sheet.say(
            "The {place} has {many} rows of {seats} seats.",
            "In the {place} are {many} rows with {seats} seats each.",
            "There are {many} rows of {seats} seats in the {place}.",
            place=place,
            many=many,
            seats=seats,
        )
    total = sheet.sum_of_products(rows, [f"seats in {place}" for place in places], "all seats")
    groups = ("adults", "children", "students")[: {2: 1, 3: 2, 4: 1, 5: 2}.get(n, 3)]
    sizes: list[Amount] = [below(draw, total.value // len(groups)) for _ in groups]
    items = [f"{size} {group}" for size, group in zip(sizes, groups, strict=True)]
    sheet.say(
        "{items} sit down.",
        "Then {items} take seats.",
        "Seats are taken by {items}.",
        items=listed(items),
    )
    taken = sheet.total(sizes, "seats taken") if len(sizes) > 1 else sizes[0]
    sheet.step("-", total, taken, "seats still free")
    return sheet.ask(
        "How many seats are free?",
        "How many seats are still empty?",
        "What number of seats is still free?",
    )


MEASURE = (road_trip, floor_tiles, packing, soup, hall_seats)

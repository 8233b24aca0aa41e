"""Stories outdoors, as data for `running`: animals and fruit."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.running import Event, Story

FARM = Story(
    name="farm",
    unit="hens",
    openings=(
        "{name} has a farm with {a} hens.",
        "There are {a} hens on {name}'s farm.",
        "On the farm of {name} live {a} hens.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} buys {b} hens at the market.",
                "{b} young hens are born.",
                "Another {b} hens come from the market.",
            ),
            "hens after buying",
        ),
        Event(
            "-",
            (
                "{name} sells {b} hens.",
                "A farmer buys {b} hens from {name}.",
                "{b} of the hens are sold.",
            ),
            "hens after selling",
        ),
        Event(
            "-",
            (
                "A fox scares {b} hens away.",
                "{b} hens run off into the forest.",
                "{b} hens are scared away by a fox.",
            ),
            "hens still there",
        ),
        Event(
            "*",
            (
                "By spring there are {b} times as many hens.",
                "In a year the number of hens grows to {b} times what it was.",
                "The farm soon has {b} times as many hens as before.",
            ),
            "hens after growth",
        ),
        Event(
            "/",
            (
                "{b} farms split the hens evenly, and {name} keeps a share.",
                "{name} puts the hens into {b} equal groups and keeps just a group.",
                "The hens make {b} equal groups and {name} keeps only a group.",
            ),
            "hens in a group",
        ),
    ),
    questions=(
        "How many hens does {name} have now?",
        "How many hens are on the farm in the end?",
        "What is the number of hens {name} has at the end?",
    ),
)

POND = Story(
    name="pond",
    unit="frogs",
    openings=(
        "{a} frogs live in a pond.",
        "There are {a} frogs in a green pond.",
        "A pond is home to {a} frogs.",
    ),
    events=(
        Event(
            "+",
            (
                "{b} frogs come from a river.",
                "Rain brings {b} more frogs.",
                "Another {b} frogs come to the pond.",
            ),
            "frogs after the rain",
        ),
        Event(
            "-",
            (
                "{b} frogs jump out and leave.",
                "Birds eat {b} frogs.",
                "{b} of the frogs are eaten.",
            ),
            "frogs still there",
        ),
        Event(
            "-",
            (
                "{name} carries {b} frogs to a lake.",
                "{b} frogs move to a lake.",
                "{b} frogs leave for a lake.",
            ),
            "frogs after moving",
        ),
        Event(
            "*",
            (
                "In spring the pond has {b} times as many frogs.",
                "The frogs grow to {b} times their number.",
                "By spring there are {b} times as many frogs as before.",
            ),
            "frogs in spring",
        ),
        Event(
            "/",
            (
                "The frogs split evenly over {b} ponds; we watch only the first pond.",
                "{b} equal groups form, and only a group stays in the pond.",
                "The frogs make {b} equal groups and just a group stays.",
            ),
            "frogs that stay",
        ),
    ),
    questions=(
        "How many frogs are in the pond now?",
        "How many frogs live in the pond at the end?",
        "What is the number of frogs in the pond in the end?",
    ),
)

BEEHIVE = Story(
    name="beehive",
    unit="bees",
    openings=(
        "A hive in {name}'s garden holds {a} bees.",
        "{name} keeps a hive with {a} bees.",
        "In the garden of {name} is a hive of {a} bees.",
    ),
    events=(
        Event(
            "+",
            (
                "{b} new bees are born.",
                "{b} bees fly in from the field.",
                "Another {b} bees fly in.",
            ),
            "bees after flying in",
        ),
        Event(
            "-",
            (
                "{b} bees fly out to the flowers.",
                "Cold kills {b} bees.",
                "{b} of the bees leave the hive.",
            ),
            "bees still inside",
        ),
        Event(
            "-",
            (
                "Birds catch {b} bees.",
                "{b} bees are caught by birds.",
                "Hungry birds eat {b} of the bees.",
            ),
            "bees not caught",
        ),
        Event(
            "*",
            (
                "In warm weeks the hive grows to {b} times as many bees.",
                "By summer there are {b} times as many bees.",
                "The number of bees grows to {b} times what it was.",
            ),
            "bees by summer",
        ),
        Event(
            "/",
            (
                "The bees split into {b} equal groups, and only a group stays.",
                "{name} splits the bees evenly over {b} hives and keeps just a hive.",
                "The bees make {b} equal hives and {name} keeps only a hive.",
            ),
            "bees that stay",
        ),
    ),
    questions=(
        "How many bees are in the hive now?",
        "How many bees does {name} have in the end?",
        "What is the number of bees in the hive at the end?",
    ),
)

ORCHARD = Story(
    name="orchard",
    unit="apples",
    openings=(
        "{name} picks {a} apples into a basket.",
        "A basket in {name}'s orchard holds {a} apples.",
        "In {name}'s basket are {a} apples.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} picks {b} more apples.",
                "A neighbor brings {b} apples.",
                "Another {b} apples go into the basket.",
            ),
            "apples after picking",
        ),
        Event(
            "-",
            (
                "{name} makes juice from {b} apples.",
                "{b} apples are used for cakes.",
                "For juice {name} takes {b} of the apples.",
            ),
            "apples after cooking",
        ),
        Event(
            "-",
            (
                "{b} apples are bad and thrown away.",
                "Pigs eat {b} apples.",
                "The pigs get {b} of the apples.",
            ),
            "apples still good",
        ),
        Event(
            "*",
            (
                "Friends pick until there are {b} times as many apples.",
                "After the harvest {name} has {b} times as many apples.",
                "The number of apples grows to {b} times what it was.",
            ),
            "apples after harvest",
        ),
        Event(
            "/",
            (
                "{b} friends split the apples evenly, and {name} is among them.",
                "{name} puts the apples into {b} equal baskets and keeps a basket.",
                "The apples go evenly into {b} baskets and {name} keeps just a basket.",
            ),
            "apples in a basket",
        ),
    ),
    questions=(
        "How many apples does {name} have now?",
        "How many apples are left for {name}?",
        "What is the number of apples {name} has in the end?",
    ),
)

NATURE_STORIES = (FARM, POND, BEEHIVE, ORCHARD)

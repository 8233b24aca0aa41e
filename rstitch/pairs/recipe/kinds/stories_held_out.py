"""The stories that are never trained on: they measure whether running kinds carry over."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.running import Event, Story

HARBOR = Story(
    name="harbor",
    unit="barrels",
    openings=(
        "A captain comes to the harbor with {a} barrels on a ship.",
        "Captain {name} has {a} barrels on a ship.",
        "There are {a} barrels on the ship of captain {name}.",
    ),
    events=(
        Event(
            "+",
            (
                "At an island {b} barrels are put on the ship.",
                "The crew buys {b} barrels.",
                "{b} more barrels come on the ship.",
            ),
            "barrels after loading",
        ),
        Event(
            "-",
            (
                "A storm throws {b} barrels into the sea.",
                "The crew sells {b} barrels.",
                "{b} of the barrels are sold.",
            ),
            "barrels after the stop",
        ),
        Event(
            "-",
            (
                "The crew empties {b} barrels and burns them.",
                "Pirates steal {b} barrels.",
                "{b} barrels are lost to pirates.",
            ),
            "barrels still there",
        ),
        Event(
            "*",
            (
                "After a good trade there are {b} times as many barrels.",
                "In the harbor the load grows to {b} times as many barrels.",
                "The number of barrels becomes {b} times what it was.",
            ),
            "barrels after trade",
        ),
        Event(
            "/",
            (
                "{b} ships share the barrels equally, and the captain keeps a share.",
                "{b} ships get equal parts of the barrels, and only the captain's ship goes on.",
                "The barrels go evenly on {b} ships, and we follow the ship of the captain.",
            ),
            "barrels in a share",
        ),
    ),
    questions=(
        "How many barrels does the captain have now?",
        "How many barrels are left on the ship?",
        "What is the number of barrels on the ship in the end?",
    ),
)

SNOW_FORT = Story(
    name="snow_fort",
    unit="snowballs",
    openings=(
        "{name} builds a snow fort and makes {a} snowballs.",
        "Behind {name}'s snow fort lie {a} snowballs.",
        "In the snow fort of {name} there are {a} snowballs.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} rolls {b} more snowballs.",
                "Friends make {b} snowballs.",
                "Another {b} snowballs are made.",
            ),
            "snowballs after rolling",
        ),
        Event(
            "-",
            (
                "{name} throws {b} snowballs at a wall.",
                "In a fight {b} snowballs are thrown.",
                "{b} of the snowballs are thrown.",
            ),
            "snowballs after throwing",
        ),
        Event(
            "-",
            (
                "The sun melts {b} snowballs.",
                "{b} snowballs melt.",
                "{b} snowballs are lost in the sun.",
            ),
            "snowballs not melted",
        ),
        Event(
            "*",
            (
                "After hard work there are {b} times as many snowballs.",
                "Fresh snow raises the snowballs to {b} times the number.",
                "The pile of snowballs grows to {b} times its size.",
            ),
            "snowballs after work",
        ),
        Event(
            "/",
            (
                "{b} forts share the snowballs evenly, and {name} keeps the share of a fort.",
                "{name} makes {b} equal piles of the snowballs and keeps just a pile.",
                "The snowballs are split into {b} equal shares and {name} keeps a share.",
            ),
            "snowballs in a share",
        ),
    ),
    questions=(
        "How many snowballs does {name} have now?",
        "How many snowballs are left in the fort?",
        "What is the number of snowballs in the end?",
    ),
)

CHOIR = Story(
    name="choir",
    unit="singers",
    openings=(
        "{name} has a choir of {a} singers.",
        "{name} leads a choir of {a} singers.",
        "There are {a} singers in the choir of {name}.",
    ),
    events=(
        Event(
            "+",
            (
                "{b} new singers join.",
                "From a school come {b} more singers.",
                "Another {b} singers come to the choir.",
            ),
            "singers after joining",
        ),
        Event(
            "-",
            (
                "{b} singers fall ill and leave.",
                "{b} singers move to another town.",
                "{b} of the singers leave.",
            ),
            "singers still there",
        ),
        Event(
            "-",
            (
                "{b} singers go to a band.",
                "A band takes {b} of the singers.",
                "{b} singers leave for a band.",
            ),
            "singers without the band",
        ),
        Event(
            "*",
            (
                "After a concert the choir has {b} times as many singers.",
                "A famous song brings the choir to {b} times as many singers.",
                "The number of singers grows to {b} times what it was.",
            ),
            "singers after concert",
        ),
        Event(
            "/",
            (
                "The singers split into {b} equal choirs, and {name} leads only the first.",
                "The choir splits evenly into {b} parts and {name} keeps a part.",
                "{b} equal groups are made and {name} keeps just a group.",
            ),
            "singers in a group",
        ),
    ),
    questions=(
        "How many singers are in the choir now?",
        "How many singers does {name} lead at the end?",
        "What is the number of singers in the end?",
    ),
)

HELD_OUT_STORIES = (HARBOR, SNOW_FORT, CHOIR)

"""Stories at home, as data for `running`: food, savings, pictures, water."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.running import Event, Story

BAKERY = Story(
    name="bakery",
    unit="rolls",
    openings=(
        "{name} runs a bakery and has {a} rolls in the morning.",
        "In the morning {name}'s bakery has {a} rolls on the shelf.",
        "Early in the day there are {a} rolls in the bakery of {name}.",
    ),
    events=(
        Event(
            "+",
            (
                "Then {b} more rolls come out of the oven.",
                "{name} bakes another {b} rolls.",
                "The oven gives {b} fresh rolls on top.",
            ),
            "rolls after baking",
        ),
        Event(
            "-",
            (
                "A school buys {b} rolls.",
                "Customers take {b} of the rolls.",
                "{b} rolls go to people at the door.",
            ),
            "rolls after selling",
        ),
        Event(
            "-",
            (
                "{b} rolls are burnt and thrown away.",
                "{name} throws {b} old rolls away.",
                "{b} bad rolls are taken out.",
            ),
            "rolls still good",
        ),
        Event(
            "*",
            (
                "{name} bakes until there are {b} times as many rolls.",
                "By noon the number of rolls is {b} times what it was.",
                "The stock of rolls grows to {b} times its size.",
            ),
            "rolls by noon",
        ),
        Event(
            "/",
            (
                "{name} puts the rolls evenly on {b} trays and keeps just a tray.",
                "The rolls are split equally among {b} shops and {name} keeps a share.",
                "The rolls make {b} equal piles and {name} keeps only a pile.",
            ),
            "rolls kept",
        ),
    ),
    questions=(
        "How many rolls does {name} have now?",
        "How many rolls are there in the end?",
        "What is the number of rolls at the end?",
    ),
)

PIGGY_BANK = Story(
    name="piggy_bank",
    unit="coins",
    openings=(
        "{name} has {a} coins in a piggy bank.",
        "There are {a} coins in the piggy bank of {name}.",
        "{name} saves coins and has {a} coins in the bank.",
    ),
    events=(
        Event(
            "+",
            (
                "Grandma puts in {b} more coins.",
                "{name} gets {b} coins for washing the car.",
                "Grandma gives {name} {b} more coins to save.",
            ),
            "coins after saving",
        ),
        Event(
            "-",
            (
                "{name} spends {b} coins on sweets.",
                "{name} pays {b} coins for a toy.",
                "For a toy {name} takes out {b} coins.",
            ),
            "coins after spending",
        ),
        Event(
            "-",
            ("{name} loses {b} coins.", "{b} coins get lost.", "Sadly {b} of the coins are lost."),
            "coins not lost",
        ),
        Event(
            "*",
            (
                "A prize makes it {b} times as many coins.",
                "After a year there are {b} times as many coins.",
                "The number of coins grows to {b} times what it was.",
            ),
            "coins after growing",
        ),
        Event(
            "/",
            (
                "{name} makes {b} equal piles of the coins and keeps just a pile.",
                "{b} children split the coins evenly, and {name} is among them.",
                "The coins are split into {b} equal shares and {name} keeps a share.",
            ),
            "coins in a share",
        ),
    ),
    questions=(
        "How many coins does {name} have now?",
        "How many coins are in the bank at the end?",
        "What is the number of coins {name} has in the end?",
    ),
)

COOKIE_JAR = Story(
    name="cookie_jar",
    unit="cookies",
    openings=(
        "A jar in {name}'s kitchen holds {a} cookies.",
        "{name} fills a jar with {a} cookies.",
        "In the kitchen of {name} is a jar with {a} cookies.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} puts {b} more cookies into the jar.",
                "Grandpa adds {b} cookies.",
                "Another {b} cookies go into the jar.",
            ),
            "cookies after adding",
        ),
        Event(
            "-",
            (
                "The family eats {b} cookies.",
                "Guests eat {b} of the cookies.",
                "{b} cookies are eaten by guests.",
            ),
            "cookies after eating",
        ),
        Event(
            "-",
            (
                "The dog steals {b} cookies.",
                "{b} cookies go to the neighbors.",
                "The neighbors get {b} of the cookies.",
            ),
            "cookies still there",
        ),
        Event(
            "*",
            (
                "{name} bakes until there are {b} times as many cookies.",
                "After baking, the jar has {b} times as many cookies.",
                "Soon there are {b} times as many cookies as before.",
            ),
            "cookies after baking",
        ),
        Event(
            "/",
            (
                "The cookies are put into {b} equal bags, and only a bag goes back.",
                "{name} splits the cookies evenly over {b} jars and keeps a jar.",
                "The cookies go evenly into {b} bags and {name} keeps just a bag.",
            ),
            "cookies put back",
        ),
    ),
    questions=(
        "How many cookies are left for {name}?",
        "How many cookies does {name} have at the end?",
        "What number of cookies does {name} have now?",
    ),
)

PHOTO_ALBUM = Story(
    name="photo_album",
    unit="photos",
    openings=(
        "{name} keeps {a} photos on a phone.",
        "There are {a} photos on {name}'s phone.",
        "The phone of {name} holds {a} photos.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} takes {b} photos at the beach.",
                "A friend sends {b} more photos.",
                "{b} new photos come from a friend.",
            ),
            "photos after adding",
        ),
        Event(
            "+",
            (
                "On a walk {name} takes {b} photos of birds.",
                "{name} takes {b} photos of flowers.",
                "{name} adds {b} photos of birds.",
            ),
            "photos with new pictures",
        ),
        Event(
            "-",
            (
                "{name} deletes {b} dark photos.",
                "{b} photos are bad and get deleted.",
                "{b} of the photos are deleted.",
            ),
            "photos after deleting",
        ),
        Event(
            "*",
            (
                "After a holiday there are {b} times as many photos.",
                "In a year the number of photos grows to {b} times what it was.",
                "Later {name} has {b} times as many photos as before.",
            ),
            "photos after the year",
        ),
        Event(
            "/",
            (
                "{name} splits the photos into {b} equal albums and keeps only an album.",
                "The photos fill {b} equal albums, and all albums but the last are deleted.",
                "{b} equal albums are made and {name} keeps just the last album.",
            ),
            "photos in an album",
        ),
    ),
    questions=(
        "How many photos does {name} have now?",
        "How many photos are on the phone at the end?",
        "What is the number of photos on the phone now?",
    ),
)

WATER_TANK = Story(
    name="water_tank",
    unit="liters",
    openings=(
        "{name} fills a tank with {a} liters of water.",
        "There are {a} liters of water in {name}'s tank.",
        "The tank of {name} has {a} liters of water in it.",
    ),
    events=(
        Event(
            "+",
            (
                "Rain adds {b} liters.",
                "{name} pours in {b} more liters.",
                "Another {b} liters of rain run in.",
            ),
            "liters after filling",
        ),
        Event(
            "-",
            (
                "{name} uses {b} liters for the plants.",
                "{b} liters leak out.",
                "The plants get {b} liters from it.",
            ),
            "liters after use",
        ),
        Event(
            "-",
            (
                "The horses drink {b} liters.",
                "{b} liters are taken for the horses.",
                "Horses drink {b} liters from the tank.",
            ),
            "liters after drinking",
        ),
        Event(
            "*",
            (
                "A storm fills it to {b} times as much water.",
                "After a storm there is {b} times as much water.",
                "The water grows to {b} times what it was.",
            ),
            "liters after the storm",
        ),
        Event(
            "/",
            (
                "The water is split evenly over {b} tanks, and {name} keeps just a tank.",
                "{b} farms share the water equally, and {name} keeps the share of a farm.",
                "The water goes into {b} equal tanks and {name} keeps only a tank.",
            ),
            "liters in a share",
        ),
    ),
    questions=(
        "How many liters does {name} have now?",
        "How many liters of water are there in the end?",
        "What is the number of liters now?",
    ),
)

HOME_STORIES = (BAKERY, PIGGY_BANK, COOKIE_JAR, PHOTO_ALBUM, WATER_TANK)

"""Stories of play, as data for `running`: toys, games, a party."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.running import Event, Story

MARBLES = Story(
    name="marbles",
    unit="marbles",
    openings=(
        "{name} plays with {a} marbles.",
        "{name} has a bag of {a} marbles.",
        "In {name}'s bag there are {a} marbles.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} wins {b} marbles.",
                "A friend gives {name} {b} marbles.",
                "{name} gets {b} more marbles from a friend.",
            ),
            "marbles after winning",
        ),
        Event(
            "-",
            (
                "{name} loses {b} marbles in a game.",
                "{b} marbles roll away.",
                "{b} of the marbles are lost.",
            ),
            "marbles after losing",
        ),
        Event(
            "-",
            (
                "{name} gives {b} marbles to a girl.",
                "{name} sells {b} marbles.",
                "A girl gets {b} marbles from {name}.",
            ),
            "marbles after giving",
        ),
        Event(
            "*",
            (
                "A lucky day makes it {b} times as many marbles.",
                "After a match {name} has {b} times as many marbles.",
                "The number of marbles grows to {b} times what it was.",
            ),
            "marbles after the match",
        ),
        Event(
            "/",
            (
                "{b} children share the marbles equally, and {name} is among them.",
                "{name} sorts the marbles into {b} equal bags and keeps a bag.",
                "The marbles go evenly into {b} bags and {name} keeps just a bag.",
            ),
            "marbles in a share",
        ),
    ),
    questions=(
        "How many marbles does {name} have now?",
        "How many marbles are left for {name}?",
        "What is the number of marbles {name} has at the end?",
    ),
)

CARDS = Story(
    name="cards",
    unit="cards",
    openings=(
        "{name} collects {a} football cards.",
        "There are {a} football cards in {name}'s box.",
        "The football box of {name} holds {a} cards.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} buys a pack of {b} cards.",
                "A cousin sends {b} cards.",
                "{b} more cards come in a pack.",
            ),
            "cards after buying",
        ),
        Event(
            "-",
            (
                "{name} gives {b} cards to a cousin.",
                "{name} trades {b} cards for a ball.",
                "For a ball {name} gives {b} of the cards.",
            ),
            "cards after trading",
        ),
        Event(
            "-",
            (
                "Rain ruins {b} cards.",
                "{b} wet cards are thrown away.",
                "{b} of the cards are ruined.",
            ),
            "cards still dry",
        ),
        Event(
            "*",
            (
                "On a birthday the cards grow to {b} times the number.",
                "After a birthday {name} has {b} times as many cards.",
                "Later there are {b} times as many cards as before.",
            ),
            "cards after birthday",
        ),
        Event(
            "/",
            (
                "{name} deals the cards evenly into {b} boxes and keeps a box.",
                "{b} players split the cards evenly, and {name} is among them.",
                "The cards make {b} equal piles and {name} keeps just a pile.",
            ),
            "cards in a pile",
        ),
    ),
    questions=(
        "How many cards does {name} have now?",
        "How many cards are left for {name}?",
        "What is the number of cards {name} has in the end?",
    ),
)

SPACE_GAME = Story(
    name="space_game",
    unit="stars",
    openings=(
        "{name} plays a space game and has {a} stars.",
        "In a space game {name} starts with {a} stars.",
        "{a} stars are what {name} has in a space game.",
    ),
    events=(
        Event(
            "+",
            (
                "A new planet gives {b} stars.",
                "{name} finds {b} stars on the moon.",
                "{name} gets {b} more stars on a planet.",
            ),
            "stars after finding",
        ),
        Event(
            "-",
            (
                "A crash costs {b} stars.",
                "{name} pays {b} stars for a rocket.",
                "For a rocket {name} spends {b} stars.",
            ),
            "stars after paying",
        ),
        Event(
            "-",
            (
                "A robot steals {b} stars.",
                "{name} loses {b} stars to a robot.",
                "{b} stars are taken by a robot.",
            ),
            "stars not stolen",
        ),
        Event(
            "*",
            (
                "A magic key makes it {b} times as many stars.",
                "After a bonus {name} has {b} times as many stars.",
                "The number of stars grows to {b} times what it was.",
            ),
            "stars after bonus",
        ),
        Event(
            "/",
            (
                "{b} players share the stars equally, and {name} is among them.",
                "{name} splits the stars evenly over {b} ships and flies on with a ship.",
                "The stars are split into {b} equal shares and {name} keeps a share.",
            ),
            "stars in a share",
        ),
    ),
    questions=(
        "How many stars does {name} have now?",
        "With how many stars does {name} end?",
        "What is the number of stars {name} has at the end?",
    ),
)

PARTY = Story(
    name="party",
    unit="balloons",
    openings=(
        "{name} has {a} balloons for a party.",
        "There are {a} balloons at {name}'s party.",
        "For the party of {name} there are {a} balloons.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} blows up {b} more balloons.",
                "Guests bring {b} balloons.",
                "Another {b} balloons come with the guests.",
            ),
            "balloons after adding",
        ),
        Event(
            "-",
            ("{b} balloons burst.", "The cat bursts {b} balloons.", "{b} of the balloons burst."),
            "balloons not burst",
        ),
        Event(
            "-",
            (
                "{b} balloons fly away.",
                "The wind takes {b} balloons.",
                "{b} balloons are lost to the wind.",
            ),
            "balloons still there",
        ),
        Event(
            "*",
            (
                "Guests bring so many that there are {b} times as many balloons.",
                "Before the cake there are {b} times as many balloons.",
                "The number of balloons grows to {b} times what it was.",
            ),
            "balloons before the cake",
        ),
        Event(
            "/",
            (
                "The balloons are shared equally among {b} rooms, and only the first room is used.",
                "{name} ties the balloons into {b} equal bunches and keeps a bunch.",
                "{b} equal bunches are made and {name} keeps just a bunch.",
            ),
            "balloons in use",
        ),
    ),
    questions=(
        "How many balloons does {name} have now?",
        "How many balloons does {name} have at the end?",
        "What is the number of balloons in the end?",
    ),
)

PLAY_STORIES = (MARBLES, CARDS, SPACE_GAME, PARTY)

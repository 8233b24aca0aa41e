"""Stories at work, as data for `running`: stores, a train, letters."""

from __future__ import annotations

from rstitch.pairs.recipe.kinds.running import Event, Story

TRAIN = Story(
    name="train",
    unit="passengers",
    openings=(
        "A train leaves with {a} passengers.",
        "There are {a} passengers on a train.",
        "{a} passengers ride on a train.",
    ),
    events=(
        Event(
            "+",
            (
                "At a village {b} passengers get on.",
                "{b} more passengers get on.",
                "Another {b} passengers come on the train.",
            ),
            "passengers after boarding",
        ),
        Event(
            "-",
            (
                "At a town {b} passengers get off.",
                "{b} passengers get off.",
                "{b} of the passengers leave the train.",
            ),
            "passengers still on",
        ),
        Event(
            "-",
            (
                "{b} tired passengers change to a bus.",
                "A bus takes {b} of the passengers.",
                "{b} passengers go on by bus.",
            ),
            "passengers without bus riders",
        ),
        Event(
            "*",
            (
                "In the city the train fills to {b} times as many passengers.",
                "After the city there are {b} times as many passengers.",
                "The number of passengers grows to {b} times what it was.",
            ),
            "passengers after the city",
        ),
        Event(
            "/",
            (
                "The passengers are split evenly over {b} trains, and only the first goes on.",
                "The train splits into {b} equally full parts and only the front part goes on.",
                "{b} trains share the passengers equally, and we follow just the first.",
            ),
            "passengers going on",
        ),
    ),
    questions=(
        "How many passengers are on the train now?",
        "How many passengers ride at the end?",
        "What is the number of passengers in the end?",
    ),
)

WAREHOUSE = Story(
    name="warehouse",
    unit="crates",
    openings=(
        "{name} stores {a} crates in a warehouse.",
        "{name} counts {a} crates in a warehouse.",
        "There are {a} crates in the warehouse of {name}.",
    ),
    events=(
        Event(
            "+",
            (
                "A truck brings {b} crates.",
                "{b} more crates come by truck.",
                "Another {b} crates are brought in.",
            ),
            "crates after delivery",
        ),
        Event(
            "+",
            (
                "{name} finds {b} crates behind a wall.",
                "{b} crates come back from a client.",
                "A client gives back {b} crates.",
            ),
            "crates with returns",
        ),
        Event(
            "-",
            (
                "{b} crates are sent to a client.",
                "A truck takes {b} crates away.",
                "{b} of the crates leave by truck.",
            ),
            "crates after sending",
        ),
        Event(
            "*",
            (
                "A big order raises the crates to {b} times the number.",
                "Soon the warehouse has {b} times as many crates.",
                "By summer there are {b} times as many crates as before.",
            ),
            "crates after growth",
        ),
        Event(
            "/",
            (
                "The crates are split equally among {b} halls and {name} keeps just a hall.",
                "{b} halls share the crates evenly, and only the first hall stays open.",
                "The crates go evenly to {b} halls and only the first hall stays.",
            ),
            "crates in a hall",
        ),
    ),
    questions=(
        "How many crates are in store now?",
        "How many crates does {name} count at the end?",
        "What is the number of crates in the end?",
    ),
)

LIBRARY = Story(
    name="library",
    unit="books",
    openings=(
        "{name} has a library of {a} books.",
        "{name} works in a library with {a} books.",
        "In the library of {name} there are {a} books.",
    ),
    events=(
        Event(
            "+",
            (
                "The town buys {b} new books.",
                "{name} orders {b} more books.",
                "{b} new books are bought.",
            ),
            "books after buying",
        ),
        Event(
            "+",
            (
                "Readers bring back {b} books.",
                "A school gives {b} books to the library.",
                "The library gets {b} books from a school.",
            ),
            "books after returns",
        ),
        Event(
            "-",
            (
                "Readers borrow {b} books.",
                "{b} books are lent to a school.",
                "A class takes {b} of the books home.",
            ),
            "books after lending",
        ),
        Event(
            "-",
            (
                "{b} old books are sold.",
                "{name} sells {b} torn books.",
                "{b} torn books leave the shelf.",
            ),
            "books after selling",
        ),
        Event(
            "*",
            (
                "A rich friend raises the stock to {b} times as many books.",
                "Over the years the number of books grows to {b} times what it was.",
                "Years later there are {b} times as many books as before.",
            ),
            "books after growth",
        ),
        Event(
            "/",
            (
                "{b} towns split the books equally, and the library keeps the books of a town.",
                "{b} equal shelves are filled, and {name} keeps only the books of a shelf.",
                "{b} libraries share the books evenly, and {name} keeps a share.",
            ),
            "books in a share",
        ),
    ),
    questions=(
        "How many books does the library have now?",
        "How many books are there in the end?",
        "What is the number of books at the end?",
    ),
)

WORKSHOP = Story(
    name="workshop",
    unit="bolts",
    openings=(
        "{name} has {a} bolts in a workshop.",
        "A drawer in {name}'s workshop holds {a} bolts.",
        "There are {a} bolts in the workshop of {name}.",
    ),
    events=(
        Event(
            "+",
            (
                "{name} buys {b} more bolts.",
                "A machine makes {b} bolts.",
                "{b} new bolts come from a machine.",
            ),
            "bolts after adding",
        ),
        Event(
            "-",
            (
                "{name} needs {b} bolts for a bridge.",
                "{b} bolts go into a door.",
                "For a door {name} uses {b} bolts.",
            ),
            "bolts after building",
        ),
        Event(
            "-",
            (
                "{b} bolts are bent and thrown away.",
                "{name} lends {b} bolts to a friend.",
                "A friend takes {b} of the bolts.",
            ),
            "bolts still there",
        ),
        Event(
            "*",
            (
                "The machine runs until there are {b} times as many bolts.",
                "After a week {name} has {b} times as many bolts.",
                "The stock of bolts grows to {b} times its size.",
            ),
            "bolts after a week",
        ),
        Event(
            "/",
            (
                "{name} sorts the bolts into {b} equal boxes and keeps a box.",
                "The bolts are split evenly among {b} workers, and {name} is among them.",
                "The bolts go evenly into {b} boxes and {name} keeps just a box.",
            ),
            "bolts in a box",
        ),
    ),
    questions=(
        "How many bolts does {name} have now?",
        "How many bolts are left for {name}?",
        "What is the number of bolts {name} has in the end?",
    ),
)

POST_OFFICE = Story(
    name="post_office",
    unit="letters",
    openings=(
        "{name} must carry {a} letters.",
        "The mail bag of {name} holds {a} letters.",
        "There are {a} letters in {name}'s mail bag.",
    ),
    events=(
        Event(
            "+",
            (
                "At the office {name} picks up {b} more letters.",
                "People hand over {b} letters.",
                "Another {b} letters go into the bag.",
            ),
            "letters after collecting",
        ),
        Event(
            "-",
            (
                "{name} brings {b} letters to a street.",
                "{b} letters go to a hotel.",
                "A hotel gets {b} of the letters.",
            ),
            "letters after a stop",
        ),
        Event(
            "-",
            (
                "The wind takes {b} letters away.",
                "{b} letters are sent back.",
                "{name} sends {b} letters back.",
            ),
            "letters still there",
        ),
        Event(
            "*",
            (
                "Before a holiday there are {b} times as many letters.",
                "New mail raises the letters to {b} times the number.",
                "The number of letters grows to {b} times what it was.",
            ),
            "letters with new mail",
        ),
        Event(
            "/",
            (
                "{b} carriers split the letters evenly, and {name} is among them.",
                "The letters are put into {b} equal bags and {name} keeps a bag.",
                "The letters go evenly into {b} bags and {name} takes just a bag.",
            ),
            "letters in a bag",
        ),
    ),
    questions=(
        "How many letters does {name} have now?",
        "How many letters are left for {name}?",
        "What is the number of letters {name} has at the end?",
    ),
)

WORK_STORIES = (TRAIN, WAREHOUSE, LIBRARY, WORKSHOP, POST_OFFICE)

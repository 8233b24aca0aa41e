"""What is compared, as data: the things, the words for more and less, and the questions.

Words are few, so that the pair's tokenizer holds each of them whole and one token is one decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from rstitch.pairs.recipe.kinds.running import NAMES

PLACES = (0, 1, 2, -1, -2)
"""Which places of an order are asked for, from its front and from its end."""


@dataclass(frozen=True)
class Relation:
    """One thing to compare by. An order of its things begins with the most of it."""

    name: str
    opening: str
    things: tuple[str, ...]
    verb: str
    more: str
    """After the verb: the first of two comes earlier in the order."""
    less: str
    questions: tuple[str, ...]
    """One for each of PLACES."""
    article: str = ""
    """Written before a thing in a sentence ("the "), never in an order."""


RELATIONS = (
    Relation(
        name="age",
        opening="There are friends of all ages.",
        things=NAMES,
        verb="is",
        more="older than",
        less="younger than",
        questions=(
            "Who is the oldest?",
            "Who is the second oldest?",
            "Who is the third oldest?",
            "Who is the youngest?",
            "Who is the second youngest?",
        ),
    ),
    Relation(
        name="arrival",
        opening="After school there is a party.",
        things=NAMES,
        verb="arrives",
        more="before",
        less="after",
        questions=(
            "Who arrives first?",
            "Who arrives second?",
            "Who arrives third?",
            "Who arrives last?",
            "Who arrives last but one?",
        ),
    ),
    Relation(
        name="shells",
        opening="There are shells on the beach.",
        things=NAMES,
        verb="has",
        more="more shells than",
        less="fewer shells than",
        questions=(
            "Who has the most shells?",
            "Who has the second most shells?",
            "Who has the third most shells?",
            "Who has the fewest shells?",
            "Who has the second fewest shells?",
        ),
    ),
    Relation(
        name="height",
        opening="There is a park in the city.",
        things=("oak", "pine", "elm", "birch", "maple", "willow", "ash", "cedar"),
        verb="is",
        more="taller than",
        less="shorter than",
        questions=(
            "What is the tallest tree?",
            "What is the second tallest tree?",
            "What is the third tallest tree?",
            "What is the shortest tree?",
            "What is the second shortest tree?",
        ),
        article="the ",
    ),
    Relation(
        name="price",
        opening="The shop sells toys.",
        things=("robot", "train", "ball", "boat", "truck", "bike", "rocket", "horse"),
        verb="costs",
        more="more than",
        less="less than",
        questions=(
            "What costs the most?",
            "What costs the second most?",
            "What costs the third most?",
            "What costs the least?",
            "What costs the second least?",
        ),
        article="the ",
    ),
)

"""Problems of kinds that the built-in pair has learnt, none of them seen in training.

The pair gets all three right, the SLM alone the last one only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    problem: str
    answer: str
    """What stands in the box of a right answer."""


BUILTIN = (
    Example(
        "Road trip",
        "Hugo travels 3 hours by car at 50 miles an hour and 5 hours by boat at 22 miles an hour. "
        "How many miles is that in all?",
        "260",
    ),
    Example(
        "Library",
        "Eva has a library of 22 books. The town buys 13 new books. 3 old books are sold. "
        "A school gives 13 books to the library. Over the years the number of books grows to "
        "4 times what it was. How many books does the library have now?",
        "180",
    ),
    Example(
        "Water tank",
        "There are 20 liters of water in Ana's tank. 4 farms share the water equally, and Ana "
        "keeps the share of a farm. Rain adds 40 liters. A storm fills it to 3 times as much "
        "water. How many liters does Ana have now?",
        "135",
    ),
)

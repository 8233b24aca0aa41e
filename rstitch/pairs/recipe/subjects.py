"""What the recipe can teach a pair: arithmetic, or orders. The rest of the recipe does not care.

A subject is its problems, the ways in which they are solved in writing, and where its pair lies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from transformers import PreTrainedTokenizerFast

from rstitch.pairs import BUILTIN, ORDER
from rstitch.pairs.recipe import splits, traces
from rstitch.pairs.recipe.models import SMALL, Role
from rstitch.pairs.recipe.order import drill as order_drill
from rstitch.pairs.recipe.order import splits as order_splits
from rstitch.pairs.recipe.order import traces as order_traces
from rstitch.pairs.recipe.splits import P, Split, draw_any, first_of
from rstitch.pairs.recipe.tokenizer import UNTHINK, train_tokenizer
from rstitch.pairs.recipe.traces import Span


@dataclass(frozen=True)
class Subject(Generic[P]):
    name: str
    splits: Mapping[str, Split[P]]
    prefix: str
    """Of the splits' names: those of the first subject have none."""
    home: Path
    """Where its pair lies in the package."""
    corpus_problems: int
    """How many of them the tokenizer learns its words from."""
    brief: Callable[[P, random.Random], str]
    long: Callable[[P, random.Random], list[Span]]
    continued: Callable[[P, random.Random], list[Span]]
    drill: Callable[[random.Random], list[Span]]
    """What is practised beside problems."""
    shapes: Mapping[Role, Mapping[str, int]] = field(default_factory=dict)
    """Where a role's shape differs from `models.SHAPES`."""

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[P]:
        """The first ``n`` problems of a split, named with or without the prefix."""
        name = self.prefix + split.removeprefix(self.prefix)
        return first_of(self.splits, name, n, seed)

    def draw(self, rng: random.Random) -> P:
        """A problem for training, of any kind and level."""
        return draw_any(self.splits[f"{self.prefix}train"], rng)

    def corpus(self, n: int, seed: int = 0) -> list[str]:
        """Questions and traces of ``n`` training problems."""
        rng = random.Random(f"corpus/{seed}")
        return [text for one in self.problems("train", n, seed) for text in self._texts(one, rng)]

    def _texts(self, problem: P, rng: random.Random) -> Iterator[str]:
        yield problem.question
        yield self.brief(problem, rng).replace(UNTHINK, "")
        yield "".join(span.text for span in self.long(problem, rng)).replace(UNTHINK, "")

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return train_tokenizer(self.corpus(self.corpus_problems))


ARITHMETIC = Subject(
    name="arithmetic",
    splits=splits.SPLITS,
    prefix="",
    home=BUILTIN,
    corpus_problems=20_000,
    brief=traces.brief,
    long=traces.long,
    continued=traces.continued,
    drill=traces.drill,
)
ORDERS = Subject(
    name="order",
    splits=order_splits.SPLITS,
    prefix="order-",
    home=ORDER,
    corpus_problems=4_000,
    brief=order_traces.brief,
    long=order_traces.long,
    continued=order_traces.continued,
    drill=order_drill.drill,
    shapes={"llm": {**SMALL, "num_hidden_layers": 6}},
)
SUBJECTS: dict[str, Subject[Any]] = {one.name: one for one in (ARITHMETIC, ORDERS)}

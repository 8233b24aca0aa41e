"""How good a rule is on problems: right answers and predicted seconds, many in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch.policy.base import Policy
from rstitch.router.prices import Price
from rstitch.router.problems import Graded
from rstitch.types import Sampling

if TYPE_CHECKING:
    from rstitch.api import Stitch

CHUNK = 100
"""Problems asked at once: as often is something to be told."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Greedy answers of one rule, per problem."""

    right: tuple[bool, ...]
    seconds: tuple[float, ...]
    """Predicted, of each alone on the machine."""
    llm_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    discards: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def mean_seconds(self) -> float:
        return sum(self.seconds) / len(self.seconds)

    @property
    def llm_share(self) -> float:
        return sum(self.llm_tokens) / max(1, sum(self.tokens))

    def rewards(self, price: float, reference: float) -> list[float]:
        pairs = zip(self.right, self.seconds, strict=True)
        return [float(right) * (1 - price * seconds / reference) for right, seconds in pairs]

    def told(self) -> dict[str, float]:
        """For a card."""
        return {
            "problems": len(self.right),
            "accuracy": self.accuracy,
            "predicted_seconds": self.mean_seconds,
            "llm_share": self.llm_share,
            "discards": sum(self.discards) / len(self.right),
            "tokens": sum(self.tokens) / len(self.right),
        }


def tried(
    stitch: Stitch,
    problems: Sequence[Graded],
    policy: Policy,
    price: Price,
    max_tokens: int,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Trial:
    """The rule's greedy answers to all problems."""
    right: list[bool] = []
    seconds: list[float] = []
    counts: list[tuple[int, int, int]] = []
    for at in range(0, len(problems), CHUNK):
        tell(at, len(problems))
        part = problems[at : at + CHUNK]
        answers = stitch.batch(
            [one.text for one in part],
            policy=policy,
            max_tokens=max_tokens,
            sampling=Sampling(seed=0),
        )
        for one, answer in zip(part, answers, strict=True):
            usage = answer.usage
            right.append(one.is_right(answer.text, answer.starts_thinking))
            seconds.append(price(answer.trace))
            counts.append((usage.llm_tokens, usage.tokens, usage.discards))
    tell(len(problems), len(problems))
    llm, tokens, discards = zip(*counts, strict=True)
    return Trial(tuple(right), tuple(seconds), llm, tokens, discards)

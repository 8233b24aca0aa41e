"""The LLM started on the SLM's first sentence: how much of the gain is the SLM's manner?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rstitch.evals.methods.base import Ask, Method, Question, Writing, Written, again
from rstitch.policy import make

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch

ENDS = (". ", "? ", "! ", ".\n", "\n")


@dataclass(frozen=True, slots=True)
class Opening(Method):
    """The SLM writes up to the end of its first sentence or line, the LLM all the rest."""

    name: ClassVar[str] = "opening"

    def write(self, stitch: Stitch, question: Question) -> Writing:
        (first,) = yield Ask(
            question.text, make("slm"), question.sampling, question.max_tokens, stop=ENDS
        )
        begun = _tokens(stitch, first)
        (rest,) = yield Ask(
            question.text,
            make("llm"),
            again(question.sampling),
            max(1, question.max_tokens - len(begun)),
            begun=begun,
        )
        text = stitch.tokenizer.decode(list(begun), skip_special_tokens=False) + rest.text
        return Written(text, first.starts_thinking, rest.reason, (first, rest))


def _tokens(stitch: Stitch, first: Answer) -> tuple[int, ...]:
    """The sentence as the LLM's ids, without the token that completed its end: where that holds
    more than the end, the rest would be the SLM's too."""
    kept = [p for p in first.trace.proposals if p.keep][:-1]
    read = stitch.engine.translation
    found = [
        p.token if read is None else read.read(max(stitch.models), p.token, p.side) for p in kept
    ]
    return tuple(token for token in found if token is not None)

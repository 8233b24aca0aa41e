"""A method of ours within a chat of the harness's: system prompt, examples, an answer begun."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rstitch.evals.harness.asked import Asked
from rstitch.evals.methods.base import Ask, Method, Question, Writing, Written

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch


class Told(Method):
    """A method whose words are put among the messages of a chat, or fed as they are."""

    name: ClassVar[str] = "told"

    def __init__(self, inner: Method, one: Asked, stops: tuple[str, ...]) -> None:
        self.inner, self.one, self.stops = inner, one, stops

    def write(self, stitch: Stitch, question: Question) -> Writing:
        writing = self.inner.write(stitch, question)
        answers: list[Answer] | None = None
        while True:
            try:
                ask = next(writing) if answers is None else writing.send(answers)
            except StopIteration as done:
                written: Written = done.value
                return written
            assert isinstance(ask, Ask), "a method that asks"
            answers = yield self._within(stitch, ask)

    def _within(self, stitch: Stitch, ask: Ask) -> Ask:
        stops = (*ask.stop, *self.stops)
        if self.one.messages is None:
            return replace(ask, raw=True, stop=stops)
        history, begun = self.one.history, self.one.begun
        ids: tuple[int, ...] = ()
        if begun:
            words = stitch.models[max(stitch.models)].tokenizer
            ids = tuple(words.encode(begun, add_special_tokens=False))
        messages = [*history, {"role": "user", "content": str(ask.prompt)}]
        return replace(ask, prompt=messages, stop=stops, begun=(*ids, *ask.begun))

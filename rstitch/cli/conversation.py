"""A conversation as a list of messages, and as a file: one message a line, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rstitch.errors import BadRequest
from rstitch.files import published, replaced

ROLES = ("system", "user", "assistant")
Message = dict[str, str]


class Conversation:
    """What was said so far. Thoughts are no part of it, as templates want it."""

    def __init__(self, messages: Iterable[Message] = (), home: Path | None = None) -> None:
        self.messages = list(messages)
        self._home = home
        """The file that may be written over: it was read here, or written."""

    @classmethod
    def read(cls, path: Path) -> Conversation:
        """From a file that `save` wrote. Raises BadRequest with the line that is none of it."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")  # texts may hold U+2028 and such
        except OSError as error:
            raise BadRequest(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise BadRequest(f"{path} is no conversation: it is not UTF-8 text") from None
        numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        return cls((_message(path, *one) for one in numbered), path)

    def question(self, text: str) -> list[Message]:
        """All of it, and what is asked now."""
        return [*self.messages, {"role": "user", "content": text}]

    def add(self, question: str, answer: str) -> None:
        self.messages = [*self.question(question), {"role": "assistant", "content": answer}]

    def reset(self) -> None:
        """Forget all but what the system was told."""
        self.messages = [message for message in self.messages if message["role"] == "system"]

    def save(self, path: Path) -> None:
        """Write the whole of it. Raises BadRequest for a file that is another's, or no place."""
        own = self._home is not None and path.resolve() == self._home.resolve()
        lines = [json.dumps(message, ensure_ascii=False) + "\n" for message in self.messages]
        try:
            with (replaced if own else published)(path) as partial:
                partial.write_text("".join(lines), encoding="utf-8")
        except FileExistsError:
            raise BadRequest(f"{path} is there already; name another file") from None
        except OSError as error:
            raise BadRequest(f"{path} cannot be written: {error.strerror}") from error
        self._home = path


def _message(path: Path, number: int, line: str) -> Message:
    try:
        found: Any = json.loads(line)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.keys() >= {"role", "content"}:
        role, content = found["role"], found["content"]
        if role in ROLES and isinstance(content, str):
            return {"role": role, "content": content}
    raise BadRequest(
        f'{path}, line {number}: not a message such as {{"role": "user", "content": "..."}}'
    )

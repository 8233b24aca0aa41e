"""Token ids as text, with the tokenizers of the run where they lie on this machine unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch.pairs.hashes import digest
from rstitch.text import TextStream
from rstitch.trace import Trace
from rstitch.types import Side

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
PENDING = "\ufffd"


@dataclass(frozen=True)
class Decoder:
    """A tokenizer per side."""

    tokenizers: Mapping[Side, Tokenizer]
    alike: bool = False
    """Both sides have the same file."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Decoder | None:
        """None where one of the two is not here, or is not what it was."""
        found = {side: _tokenizer(config["asked"], side) for side in Side}
        whole = {side: one for side, one in found.items() if one is not None}
        if len(whole) < len(Side):
            return None
        sums = {config["asked"]["weights"][side.label][FILE] for side in Side}
        return cls(whole, len(sums) == 1)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Tokens of each side."""
        return {side.label: one.get_vocab_size() for side, one in self.tokenizers.items()}

    def text(self, side: int, token: int) -> str:
        """Of one token by itself; special tokens by name."""
        tokenizer = self.tokenizers[Side(side)]
        return str(tokenizer.decode([token], skip_special_tokens=False))

    def retold(self, tokens: Iterable[int], side: Side) -> str:
        """The text of an answer, by the tokenizer of that side."""
        stream = TextStream(self.tokenizers[side])
        return "".join(map(stream.push, tokens)) + stream.finish()

    def wrong(self, number: int, trace: Trace, stopped: bool = False) -> Iterator[str]:
        """The first kept token whose text is another than its trace says; the whole text, where
        both sides have one tokenizer. stopped: a stop string may have ended it.

        Of single texts only those that one whole token completed are compared: characters may span
        several.
        """
        wrong = next(self._single(number, trace), None)
        if wrong is None and self.alike and not self._fits(trace, stopped):
            wrong = f"trace {number}: its texts are not those of its tokens"
        if wrong is not None:
            yield wrong

    def _fits(self, trace: Trace, stopped: bool) -> bool:
        kept = [proposal.token for proposal in trace.proposals if proposal.keep]
        said = "".join(t for p, t in zip(trace.proposals, trace.texts, strict=True) if p.keep)
        ended = trace.end.get("reason") == "stop"  # by a token that is not shown
        for tokens in [kept, kept[:-1]] if ended else [kept]:
            whole = self.retold(tokens, Side.LLM)
            if whole.lstrip() == said.lstrip() or (stopped and whole.startswith(said)):
                return True
        return False

    def _single(self, number: int, trace: Trace) -> Iterator[str]:
        held = False
        for index, (proposal, said) in enumerate(zip(trace.proposals, trace.texts, strict=True)):
            if not proposal.keep:
                continue
            alone = self.text(proposal.side, proposal.token)
            special = not self._plain(proposal.side, proposal.token)
            if held or PENDING in alone or not said or special:
                held = (PENDING in alone or held) and not said
                continue
            if said.lstrip() != alone.lstrip() and not said.endswith(alone):
                yield (
                    f"trace {number}: decision {index} has token {proposal.token}, which is "
                    f"{alone!r}, and text {said!r}"
                )
                return

    def _plain(self, side: Side, token: int) -> bool:
        return bool(self.tokenizers[side].decode([token], skip_special_tokens=True))


def _tokenizer(asked: Mapping[str, Any], side: Side) -> Tokenizer | None:
    from tokenizers import Tokenizer

    source = local(asked, side)
    due = asked.get("weights", {}).get(side.label, {}).get(FILE)
    if source is None or due is None or digest(source / FILE) != due:
        return None
    return Tokenizer.from_file(str(source / FILE))


def local(asked: Mapping[str, Any], side: Side) -> Path | None:
    """The directory of a side's model: that of the run, or of the built-in pair, which lies
    elsewhere on every machine."""
    named = asked.get("models", {}).get(side.label, {}).get("source")
    pair = asked.get("pair", {})
    places = [Path(named)] if named else []
    if pair.get("name") == "builtin" and not pair.get(side.label):
        import rstitch

        places.append(Path(rstitch.__file__).parent / "pairs" / "builtin" / side.label)
    return next((place for place in places if (place / FILE).is_file()), None)

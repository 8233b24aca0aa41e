"""What the caller's process has of a model that runs in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rstitch.engine.loader import LoadedModel
from rstitch.remote.process import Process
from rstitch.remote.wire import Shape
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.pairs.models import Files


@dataclass(frozen=True, slots=True)
class RemoteSide:
    """Stands where other engines have a runner."""

    process: Process
    shape: Shape

    @property
    def vocab_size(self) -> int:
        return self.shape.vocab_size

    @property
    def max_length(self) -> int:
        return self.shape.max_length

    @property
    def token_bytes(self) -> int:
        return self.shape.token_bytes


def load(files: Mapping[Side, Files], arguments: Mapping[str, Any]) -> dict[Side, LoadedModel]:
    """Have another process load the pair, with these arguments of `rstitch.load`, whose files have
    been read here. Raises what that raises there."""
    process = Process(arguments)
    return {
        side: LoadedModel(
            one.source,
            one.tokenizer,
            RemoteSide(process, process.shapes[side]),
            one.vocabulary,
            one.revision,
            getattr(one, "trust_remote_code", False),
        )
        for side, one in files.items()
    }

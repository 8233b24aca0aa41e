"""Where a pair's models were loaded from, for those that load or name them once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.pairs import Preset


@dataclass(frozen=True, slots=True)
class Origin:
    """What a pair was asked for with, beyond its models' sources."""

    revisions: tuple[str | None, str | None] = (None, None)
    """Of the SLM and the LLM on the hub."""
    trust_remote_code: bool = False

    def revision(self, side: Side) -> str | None:
        return self.revisions[side]


_KNOWN: WeakKeyDictionary[Stitch, Origin] = WeakKeyDictionary()


def remember(stitch: Stitch, known: Preset, trust_remote_code: bool) -> None:
    """Say so where a pair is loaded by name."""
    slm, llm = (_revision(stitch, known, side) for side in Side)
    _KNOWN[stitch] = Origin((slm, llm), trust_remote_code)


def of(stitch: Stitch) -> Origin:
    """The default where nobody has said anything."""
    return _KNOWN.get(stitch, Origin())


def _revision(stitch: Stitch, known: Preset, side: Side) -> str | None:
    one = known.side(side)
    return one.revision if stitch.models[side].source == one.source else one.gguf_revision

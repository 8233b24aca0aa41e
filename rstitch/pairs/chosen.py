"""Which pair a call means, and what that pair does where the call says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rstitch import units
from rstitch.defaults import Defaults, from_generation
from rstitch.errors import BadRequest
from rstitch.pairs import PAPER_TAU, Preset, SidePreset, preset

if TYPE_CHECKING:
    from rstitch.pairs.models import Files


def choose(pair: str, slm: str | None, llm: str | None) -> Preset:
    """The named pair, with its models elsewhere if `slm` or `llm` say so; or, where no pair but
    the default is named, two models about which nothing else is known."""
    if pair != "builtin":
        known = preset(pair)
        return replace(known, slm=_elsewhere(known.slm, slm), llm=_elsewhere(known.llm, llm))
    if (slm is None) != (llm is None):
        raise BadRequest("give both slm and llm, or neither for a named pair")
    if slm is None or llm is None:
        return preset(pair)
    return Preset("", SidePreset(id=slm), SidePreset(id=llm))


def _elsewhere(known: SidePreset, source: str | None) -> SidePreset:
    if source is None:
        return known
    return replace(known, id=source, path="", revision=None, gguf="", gguf_revision=None)


def defaults(known: Preset, llm: Files, tau: float | str | None) -> Defaults:
    """The call's own before the preset's, before the LLM's generation_config and the paper's."""
    said = known.tau if tau is None else tau
    value = units.normalised(PAPER_TAU if said is None else said, llm.vocabulary.size)
    sampling, origin, ignored = from_generation(llm.generation)
    if known.sampling is not None:
        sampling, origin, ignored = known.sampling, f"the pair {known.name}", ()
    if isinstance(value, str):
        raise BadRequest(f"tau is {value!r}; it must be a number such as 0.02, or 0.24nats")
    return Defaults(value, sampling, said is not None, origin, ignored, known.habits)

"""Do two models fit each other and this machine? Asked before any weights are read.

`rstitch check` prints all of it; `load` runs the same and stops at what cannot work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rstitch import prompts
from rstitch.config import EngineConfig
from rstitch.engine import vocabulary
from rstitch.engine.vocabulary import Vocabulary
from rstitch.errors import BadPair, BadRequest
from rstitch.pairs import Preset, memory, models
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.pairs.models import Files

LENGTHS = (1024, 4096, 16384, 32768)
"""Tokens of prompt and answer together, for which it is said how many fit."""
CHEAPER = 4
"""An SLM step should cost this many times less than an LLM step: see docs/choose-slm.md."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class SideReport:
    """One model, from its configuration, tokenizer and headers."""

    source: str
    revision: str | None
    model_type: str
    layers: int
    context: int
    tokens: int
    special_tokens: dict[str, str]
    """By role."""
    template: bool
    opens_thinking: bool
    """Its prompt ends inside a thinking block."""
    stored_bytes: int
    loaded_bytes: int
    kv_bytes_per_token: int


@dataclass(frozen=True, slots=True)
class Report:
    """Both models, beside each other and beside this machine."""

    slm: SideReport
    llm: SideReport
    dtype: str
    device: str
    memory: memory.Memory
    translated: dict[str, list[str]]
    """By writing side: special tokens that have another id or name on the other side."""
    without_partner: dict[str, list[str]]
    """By writing side: special tokens that the other side cannot read; refused if they occur."""
    answers: dict[int, int]
    """Tokens of an answer with its prompt to how many of them fit at once."""
    problems: list[str] = field(default_factory=list)
    """Each with its remedy; empty where the pair works here."""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"ok": not self.problems, **asdict(self)}


def read_pair(
    known: Preset, config: EngineConfig | None = None, *, trust_remote_code: bool = False
) -> dict[Side, Files]:
    """What both sides say of themselves. Raises BadModel, BadPair or BadRequest."""
    config = config or EngineConfig()
    return {side: models.read(known.side(side), config, trust_remote_code) for side in Side}


def before_loading(files: Mapping[Side, Files], config: EngineConfig) -> None:
    """Refuse what cannot work, in a moment: local headers are read, nothing is downloaded."""
    vocabulary.check_family(files[Side.SLM].vocabulary, files[Side.LLM].vocabulary)
    needed = sum(models.local_bytes(one, config) for one in files.values())
    total = memory.of_device(config.device).total
    if needed > total:
        raise BadPair(_too_big(needed, total, "has", config.dtype))


def examine(
    files: Mapping[Side, Files], config: EngineConfig, suffixes: Mapping[Side, str]
) -> Report:
    """Everything that can be said without weights. Raises BadModel for files that are damaged."""
    slm, llm = (_side(files[side], side, config, suffixes.get(side, "")) for side in Side)
    here = memory.of_device(config.device)
    needed = slm.loaded_bytes + llm.loaded_bytes
    problems, table = [], None
    try:
        vocabulary.check_family(files[Side.SLM].vocabulary, files[Side.LLM].vocabulary)
        table = vocabulary.translation(files[Side.SLM].vocabulary, files[Side.LLM].vocabulary)
    except BadPair as error:
        problems.append(str(error))
    if needed > here.free:
        problems.append(_too_big(needed, here.free, "has free", config.dtype))
    return Report(
        slm,
        llm,
        config.dtype,
        config.device,
        here,
        {side.label: _moved(table, side, files) for side in Side},
        {side.label: sorted(table.lost[side].values()) if table else [] for side in Side},
        how_many(here.free - needed, slm, llm),
        problems,
        _notes(slm, llm),
    )


def how_many(free: int, slm: SideReport, llm: SideReport) -> dict[int, int]:
    """Answers that fit at once into that many bytes, by length; each keeps KV on both sides."""
    per_token = slm.kv_bytes_per_token + llm.kv_bytes_per_token
    possible = [n for n in LENGTHS if n <= min(slm.context, llm.context)]
    return {n: max(0, free) // (n * per_token) for n in possible or [min(slm.context, llm.context)]}


def _side(files: Files, side: Side, config: EngineConfig, suffix: str) -> SideReport:
    tokenizer, facts = files.tokenizer, models.facts(files, side, config)
    rendered = ""
    if tokenizer.chat_template:
        message = prompts.with_suffix([{"role": "user", "content": "?"}], suffix)
        rendered = prompts.apply_template(files.source, tokenizer, message)
    return SideReport(
        source=files.source,
        revision=files.revision,
        model_type=facts.model_type,
        layers=facts.layers,
        context=facts.context,
        tokens=files.vocabulary.size,
        special_tokens=dict(files.vocabulary.roles),
        template=bool(rendered),
        opens_thinking=bool(prompts.opened(rendered)),
        stored_bytes=facts.stored_bytes,
        loaded_bytes=facts.loaded_bytes,
        kv_bytes_per_token=facts.kv_bytes_per_token,
    )


def _too_big(needed: int, there: int, verb: str, dtype: str) -> str:
    remedy = "bfloat16 (--dtype) halves it" if dtype == "float32" else "choose smaller models"
    return (
        f"the weights take {needed / GIB:.1f} GiB in {dtype}, the device {verb} {there / GIB:.1f}; "
        f"{remedy}"
    )


def _moved(
    table: vocabulary.Translation | None, side: Side, files: Mapping[Side, Files]
) -> list[str]:
    if table is None:
        return []
    names = [_names(files[one].vocabulary) for one in (side, side.other)]
    return [
        f"{names[0][written]} {written} -> {names[1][read]} {read}"
        for written, read in sorted(table.moved[side].items())
    ]


def _names(words: Vocabulary) -> dict[int, str]:
    return {i: token for table in (words.base, words.added) for token, i in table.items()}


def _notes(slm: SideReport, llm: SideReport) -> list[str]:
    notes = []
    for label, one in (("SLM", slm), ("LLM", llm)):
        if not one.template:
            notes.append(f"the {label} has no chat template: plain text only (--raw)")
    if slm.template and llm.template and slm.opens_thinking != llm.opens_thinking:
        which = "SLM" if slm.opens_thinking else "LLM"
        notes.append(f"only the {which}'s template opens {prompts.OPEN}; it is opened for both")
    if llm.loaded_bytes < CHEAPER * slm.loaded_bytes:
        times = llm.loaded_bytes / max(1, slm.loaded_bytes)
        notes.append(
            f"the LLM is only {times:.1f} times as large as the SLM; below {CHEAPER} there is "
            "little to gain (docs/choose-slm.md)"
        )
    return notes


def suffixes_of(known: Preset, given: Mapping[str, str]) -> dict[Side, str]:
    """Per side, the caller's before the pair's own. Raises BadRequest for a side that is none."""
    for name in given:
        if name not in [side.label for side in Side]:
            raise BadRequest(f"suffix has no side {name!r}; it takes slm and llm")
    return {side: given.get(side.label, known.side(side).suffix) for side in Side}

"""What a pair does where the caller says nothing, and who said so: its tau, how it samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rstitch.errors import BadRequest
from rstitch.types import SHIFTS, Sampling

FIELDS = ("temperature", "top_k", "top_p", "min_p")
GENERATION = "the LLM's generation_config"
PENALTIES = {
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
}
"""Settings of a generation_config that are not honoured here, with the values that do nothing."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How long a pair's answers are, and which tau goes with which ceiling: what an answer within
    limits is steered by. Where nothing is known, the limits hold all the same."""

    shortest: int = 0
    """Tokens that 99 of 100 answers have at least."""
    after: int = 0
    """Tokens that 99 of 100 answers have after the last that the LLM writes at the pair's tau."""
    longest: int | None = None
    """Tokens that 99 of 100 answers have at most."""
    ceilings: tuple[float, ...] = ()
    """LLM shares, rising."""
    taus: tuple[float, ...] = ()
    """The tau to start with under each ceiling, where nobody gives one."""

    def __post_init__(self) -> None:
        lengths = (self.shortest, self.after, 1 if self.longest is None else self.longest)
        if any(type(one) is not int or one < 0 for one in lengths) or self.longest == 0:
            raise BadRequest(f"shortest, after, longest are {lengths}; they must be whole numbers")
        if len(self.ceilings) != len(self.taus) or list(self.ceilings) != sorted(self.ceilings):
            raise BadRequest(
                f"ceilings are {list(self.ceilings)}, taus {list(self.taus)}; there must be as "
                "many of both, and ceilings must rise"
            )

    def tau(self, share: float, usual: float) -> float:
        """To start with under a ceiling: that of the largest known one below, at least `usual`."""
        below = sum(ceiling <= share for ceiling in self.ceilings)
        return max(usual, self.taus[max(0, below - 1)]) if self.taus else usual


@dataclass(frozen=True, slots=True)
class Defaults:
    """Values, and where they come from."""

    tau: float
    sampling: Sampling
    tau_is_known: bool = True
    """False: nobody has said which tau suits this pair, so it is the paper's."""
    sampling_from: str = ""
    """Empty where nothing was said, which is greedy."""
    ignored: tuple[str, ...] = ()
    """What the LLM's generation_config asks for and does not get."""
    habits: Habits = Habits()

    @property
    def tau_line(self) -> str:
        return (
            f"tau is {self.tau}, the paper's: this pair has none of its own; give --tau, or write "
            "it into a pair file"
        )

    def sampling_line(self, **given: Any) -> str:
        """How it samples, with what the caller gave instead; empty where no default is left."""
        used = replace(self.sampling, **given)
        if not self.sampling_from or given.get("temperature") == 0 or given.keys() >= set(FIELDS):
            return ""
        off = Sampling()
        names = [n for n in (*FIELDS, *SHIFTS) if getattr(used, n) != getattr(off, n)]
        said = [told(name, getattr(used, name)) for name in names] or ["greedy"]
        origin = self.sampling_from + (", and options" if given.keys() & set(FIELDS) else "")
        without = f"; without its {', '.join(self.ignored)}" if self.ignored else ""
        return f"sampling: {', '.join(said)} ({origin}){without}"


def told(name: str, value: Any) -> str:
    """One sampling setting as a person reads it."""
    return f"{name} {value:g}" if isinstance(value, int | float) else f"{name} of {len(value)} ids"


def from_generation(generation: Any) -> tuple[Sampling, str, tuple[str, ...]]:
    """Sampling of a transformers generation_config, its name, and what of it is not honoured.

    What the file leaves out is off. Without `do_sample` the file asks for greedy, as transformers
    reads it.
    """
    asked = (
        (name, getattr(generation, name, None))
        for name, nothing in PENALTIES.items()
        if getattr(generation, name, None) not in (None, nothing)
    )
    ignored = tuple(f"{name} {value}" for name, value in asked)
    if not getattr(generation, "do_sample", None):
        return Sampling(), GENERATION if ignored else "", ignored
    values = {name: getattr(generation, name, None) for name in FIELDS}
    given = {name: value for name, value in values.items() if value is not None}
    return Sampling(**{"temperature": 1.0, **given}), GENERATION, ignored

"""What a study is: one pair, tasks, budgets and rules, as a TOML file says it.

    title = "R-Stitch, Table 1: 7B"
    pair = "r1-7b"
    tasks = ["aime24", "math500"]
    budgets = [8192, 16384]
    taus = [0.001, 0.02, 0.03]

Those that ship are known by name; one's own is a path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rstitch.config import EngineConfig
from rstitch.errors import BadRequest
from rstitch.types import Sampling

FILES = Path(__file__).parent / "files"
PAPER_BLOCKS = ("", "7B", "14B", "32B")
LISTS = ("tasks", "budgets", "taus", "methods", "rivals", "controls")
LEAST = {"samples": 1, "timed": 0, "in_flight": 2, "seed": 0}


@dataclass(frozen=True, slots=True)
class Study:
    """Frozen; what is left out for want of time makes another one."""

    title: str
    pair: str
    """A named pair or a pair's TOML file."""
    tasks: tuple[str, ...]
    """As `rstitch eval` takes them."""
    budgets: tuple[int, ...]
    """Tokens of an answer at most; one table for each."""
    taus: tuple[float, ...]
    """Of R-Stitch's rule."""
    slm: str | None = None
    """In the place of the pair's own."""
    llm: str | None = None
    draft: str | None = None
    """Another SLM, a directory or hub id: the fair draft for speculation, timed alone."""
    methods: tuple[str, ...] = ("llm", "slm")
    """What is run beside the rule, on all problems and on the timed ones."""
    rivals: tuple[str, ...] = ("speculative",)
    """What answers one at a time: on the timed problems only."""
    controls: tuple[str, ...] = ("coin", "two-state", "elsewhere", "requests")
    """On all problems, and matched to the rule at `like`."""
    like: float | None = None
    """One of the taus; the middle one if left out."""
    problems: int | None = None
    """Of each task, spread over its groups; all if left out."""
    samples: int = 4
    """Answers per problem. The timed ones are one each."""
    timed: int = 64
    """Problems whose latency is measured, one at a time: as many of each task."""
    in_flight: int = 32
    """Answers at once where accuracy is measured."""
    seed: int = 0
    paper: str = ""
    """The rows of the paper's table that ours stand beside: 7B, 14B or 32B."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """temperature, top_p, top_k; the pair's own if left out."""
    expected: Mapping[str, float] = field(default_factory=dict)
    """Tokens of an answer by method, for the estimate; the budget where nothing is said."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the engine: dtype, device, ..."""

    def __post_init__(self) -> None:
        for name in ("tasks", "budgets", "taus"):
            if not getattr(self, name):
                raise BadRequest(f"{name} is empty; a study needs at least one")
        for name in LISTS:
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise BadRequest(f"{name} is {list(given)}; give each once")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise BadRequest(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.problems is not None and self.problems < 1:
            raise BadRequest(f"problems is {self.problems}; it must be at least 1")
        if min(self.budgets) < 1:
            raise BadRequest(f"budgets is {list(self.budgets)}; each must be at least 1")
        if self.like is not None and self.like not in self.taus:
            raise BadRequest(f"like is {self.like}; it must be one of taus, {list(self.taus)}")
        if self.paper not in PAPER_BLOCKS:
            raise BadRequest(f"paper is {self.paper!r}; it must be 7B, 14B or 32B")
        Sampling(**self.sampling)
        EngineConfig(**self.settings)

    @property
    def reference(self) -> str:
        """The label of the rule that controls are matched to."""
        middle = sorted(self.taus)[len(self.taus) // 2]
        return stitched(middle if self.like is None else self.like)

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(stitched(tau) for tau in self.taus)

    def asdict(self) -> dict[str, Any]:
        return asdict(self)


def stitched(tau: float) -> str:
    """R-Stitch's rule as `rstitch eval --method` takes it."""
    return f"stitched,tau={tau:g}"


def names() -> list[str]:
    """Of the studies that ship."""
    return sorted(path.stem for path in FILES.glob("*.toml"))


def load(name: str) -> Study:
    """The study of that name, or of a TOML file. Raises BadRequest that lists the known ones."""
    path = Path(name) if name.endswith(".toml") else FILES / f"{name}.toml"
    if path.parent == FILES and name not in names():
        raise BadRequest(f"unknown study {name!r}; known: {', '.join(names())}, or a path.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"the study {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOML that is none, or not UTF-8
        raise BadRequest(f"{path} is no TOML file: {error}") from error
    return from_dict(content, str(path))


def from_dict(content: Mapping[str, Any], where: str) -> Study:
    """A study from plain values. Raises BadRequest naming the key."""
    known = {one.name: one for one in fields(Study)}
    for key, value in content.items():
        if key not in known:
            raise BadRequest(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
        if not _fits(key, value):
            raise BadRequest(f"{where}: {key} is {value!r}; it must be {_wanted(key)}")
    for key in ("title", "pair", "tasks", "budgets", "taus"):
        if key not in content:
            raise BadRequest(f"{where}: {key!r} is missing")
    given: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in content.items()
    }
    try:
        return Study(**given)
    except TypeError as error:  # a key of [sampling] or [settings] that is none
        raise BadRequest(f"{where}: {error}") from error
    except BadRequest as error:
        raise BadRequest(f"{where}: {error}") from error


WHOLE = ("problems", "samples", "timed", "in_flight", "seed")
ITEMS: Mapping[str, tuple[type, ...]] = {"budgets": (int,), "taus": (int, float)}


def _fits(key: str, value: Any) -> bool:
    if key in LISTS:
        kinds = ITEMS.get(key, (str,))
        return isinstance(value, list | tuple) and all(_is(one, kinds) for one in value)
    if key in ("sampling", "settings"):
        return isinstance(value, Mapping)
    if key == "expected":
        return isinstance(value, Mapping) and all(_is(v, (int, float)) for v in value.values())
    if value is None:
        return key in ("slm", "llm", "draft", "like", "problems")
    if key == "like":
        return _is(value, (int, float))
    return _is(value, (int,) if key in WHOLE else (str,))


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _wanted(key: str) -> str:
    if key in LISTS:
        return {"budgets": "a list of whole numbers", "taus": "a list of numbers"}.get(
            key, "a list of texts"
        )
    if key in ("sampling", "settings", "expected"):
        return f"a table, [{key}]" + (", of numbers" if key == "expected" else "")
    return "a number" if key == "like" else "a whole number" if key in WHOLE else "a text"

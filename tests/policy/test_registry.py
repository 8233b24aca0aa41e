"""Policies that are not in the package: in a file that the user names, or installed."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from rstitch import registry
from rstitch.errors import BadRequest
from rstitch.policy import load, make
from rstitch.policy.margin import Margin
from rstitch.policy.registry import GROUP

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch
from rstitch.policy.base import Decision, Policy, Signals, hand_off

@dataclass(frozen=True, slots=True)
class Halves(Policy):
    reads: ClassVar[tuple[str, ...]] = ("top_probs",)
    top: ClassVar[int] = 3
    at: float = 0.5
    often: int = 1

    def initial_state(self):
        return (self.at,)

    @classmethod
    def decide(cls, signals, state):
        unsure = signals.top_probs.sum(1) < state[:, 0]
        return hand_off(signals, unsure, ~unsure, state)

class Bare(Policy):
    name = "bare"
    @classmethod
    def decide(cls, signals, state): ...

@dataclass(frozen=True)
class Half(Policy):
    at: float = 0.5

@dataclass(frozen=True)
class Picky(Halves):
    def __post_init__(self):
        raise ValueError("at is odd")

NUMBER = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


def test_a_class_in_a_file_is_made_under_the_name_that_was_given(file: Path) -> None:
    policy = load(f"{file}:Halves", at=0.25, often=3)
    assert policy.spec() == {"name": f"{file}:Halves", "at": 0.25, "often": 3}
    assert load(**policy.spec()) == policy
    assert type(load(f"{file}:Halves")) is type(policy), "run once per version of the file"
    assert policy.recorded() == ("top_probs.0", "top_probs.1", "top_probs.2")


def test_a_changed_file_is_run_again(file: Path) -> None:
    before = load(f"{file}:Halves")
    file.write_text(GOOD.replace("at: float = 0.5", "at: float = 0.75"))
    os.utime(file, ns=(1, 1))
    assert (before.spec()["at"], load(f"{file}:Halves").spec()["at"]) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("nowhere.py:Halves", {}, "there is no file .*nowhere.py"),
        ("mine.py", {}, "names no class; write it as path.py:Class"),
        ("mine.py:", {}, "names no class"),
        ("mine.py:Thirds", {}, "mine.py has no class Thirds"),
        ("mine.py:NUMBER", {}, "is no subclass of rstitch.policy.base.Policy"),
        ("mine.py:dataclass", {}, "is no subclass of"),
        ("mine.py:Half", {}, r"does not define decide\(\)"),
        ("mine.py:Bare", {}, r"lacks the line @dataclass\(frozen=True\)"),
        ("mine.py:Halves", {"att": 1}, "has no parameter 'att'; it takes at, often"),
        ("mine.py:Picky", {}, "cannot be made: at is odd"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    file: Path, name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message) as error:
        load(str(file.parent / name), **params)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_that_name", "cannot be run: ModuleNotFoundError: No module named"),
        ("def f(:", "cannot be run: SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "cannot be run: RuntimeError: two"),
        (GOOD.replace('"top_probs"', '"entrpy"'), "reads 'entrpy'; known: max_prob, coin"),
        (GOOD.replace("= 3", "= 0", 1), "has top = 0; it must be positive where"),
        (GOOD.replace('"top_probs"', '"margin"'), "has top = 3; .* 0 elsewhere"),
    ],
)
def test_a_file_that_does_not_run_is_refused_in_one_line(
    tmp_path: Path, code: str, message: str
) -> None:
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(BadRequest, match=message) as error:
        load(f"{tmp_path / 'broken.py'}:Halves")
    assert "\n" not in str(error.value)


def test_only_load_runs_files(tmp_path: Path) -> None:
    """`make` is what `explain` calls with whatever a trace says."""
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(BadRequest, match="is a file's; give that file with --policy"):
        make(f"{path}:Halves")
    assert not (tmp_path / "ran").exists()


# -- installed ------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entry points of another package: one that works, one that does not."""
    points = EntryPoints(
        [
            EntryPoint("gap", "rstitch.policy.margin:Margin", GROUP),
            EntryPoint("gone", "nothing_of_that_name:Policy", GROUP),
            EntryPoint("entropy", "rstitch.policy.margin:Margin", GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


@pytest.mark.usefixtures("installed")
def test_an_installed_policy_is_found_by_its_name() -> None:
    policy = make("gap", bound=0.25)
    assert isinstance(policy, Margin)
    assert policy.spec() == {"name": "gap", "bound": 0.25}
    assert policy == make("gap", bound=0.25)
    assert Margin(0.25).spec()["name"] == "margin", "the class itself is left as it is"
    assert not isinstance(make("entropy", tau=0.1), Margin), "a built-in name is not replaced"


@pytest.mark.usefixtures("installed")
def test_an_unknown_name_is_refused_with_the_installed_ones() -> None:
    with pytest.raises(BadRequest, match="unknown policy 'gup'.*gap, gone,.*or path.py:Class"):
        make("gup")


@pytest.mark.usefixtures("installed")
def test_an_installed_policy_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(BadRequest, match="policy 'gone' of nothing_of_that_name:Policy cannot be"):
        load("gone")

"""What a failed pass means: rows that end, memory that ran out, a side that is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.faults import PATIENCE, kind
from rstitch.engine.runner import Extend
from rstitch.engine.vocabulary import Translation
from rstitch.errors import OutOfMemory, SideLost
from rstitch.policy import make
from rstitch.policy.steered import Steered
from rstitch.types import Failed, Finished, Sampling, Side
from tests.engine.asking import LLM, SLM, ask
from tests.fakes import EOS, says, scripted, sure, unsure
from tests.models import Answer, assert_clean, collect, drain


class Breaks:
    """From its n-th pass on, or at some of them, a runner raises this."""

    def __init__(self, error: Exception, *passes: int, from_then_on: bool = False) -> None:
        self.error, self.passes, self.on = error, passes, from_then_on
        self.count = -1

    def __call__(self, batch: Sequence[Extend]) -> bool:
        self.count += 1
        if self.count in self.passes or (self.on and self.count >= min(self.passes)):
            raise self.error
        return False


DEVICE = RuntimeError("CUDA error: an illegal memory access was encountered")
MEMORY = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")


def stitched(may_degrade: bool = False, **options: object) -> InProcessEngine:
    """The SLM is unsure at the second and fourth token, where the LLM says 8 and hands back."""
    slm = says(sure(9), unsure(7), sure(9), unsure(7), sure(9), sure(EOS))
    return scripted(slm, says(then=sure(8)), **options)


def ends(answers: list[Answer]) -> list[str]:
    return [type(a.end.error).__name__ if isinstance(a.end, Failed) else "ok" for a in answers]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MEMORY, "memory"),
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), "memory"),
        (DEVICE, "device"),
        (torch.AcceleratorError("an illegal instruction"), "device"),
        (RuntimeError("shape mismatch"), "rows"),
        (ValueError("a text that cannot be decoded"), "rows"),
    ],
)
def test_kinds(error: Exception, expected: str) -> None:
    assert kind(error) == expected


def test_out_of_memory_ends_the_rows_of_the_pass_and_nothing_else() -> None:
    two = stitched()
    two.runners[LLM].fail_on = Breaks(MEMORY, 0)
    ids = [two.submit(ask()), two.submit(ask(make("slm")))]
    answers = collect(drain(two), ids)
    assert ends(answers) == ["OutOfMemory", "ok"]
    assert two.stats()["lost"] == {}
    again = two.submit(ask())
    assert ends(collect(drain(two), [again])) == ["ok"]
    assert_clean(two)


def test_a_lost_side_ends_all_that_need_it_and_refuses_others() -> None:
    two = stitched(max_rows=2)
    two.runners[LLM].fail_on = Breaks(DEVICE, 0, from_then_on=True)
    ids = [two.submit(r) for r in (ask(), ask(make("slm")), ask(), ask(make("llm")))]
    answers = collect(drain(two), ids)
    assert ends(answers) == ["SideLost", "ok", "SideLost", "SideLost"], "the queue's too"
    assert "LLM is lost" in two.stats()["lost"]["llm"]
    with pytest.raises(SideLost, match="illegal memory access"):
        two.submit(ask())
    alone = two.submit(ask(make("slm")))
    assert ends(collect(drain(two), [alone])) == ["ok"]
    assert_clean(two)


def test_a_side_whose_passes_fail_one_after_the_other_is_lost() -> None:
    two = stitched()
    broken = RuntimeError("nobody knows why")
    two.runners[LLM].fail_on = Breaks(broken, *range(PATIENCE - 1))
    for _ in range(PATIENCE - 1):
        assert ends(collect(drain_one(two), [f"r{_}"])) == ["RuntimeError"]
    assert ends(collect(drain_one(two), [f"r{PATIENCE - 1}"])) == ["ok"], "a pass went well"
    assert two.stats()["lost"] == {}
    two.runners[LLM].fail_on = Breaks(broken, 0, from_then_on=True)
    kinds = [ends(collect(drain_one(two), [f"r{PATIENCE + i}"]))[0] for i in range(PATIENCE)]
    assert kinds == ["RuntimeError"] * (PATIENCE - 1) + ["SideLost"]
    assert list(two.stats()["lost"]) == ["llm"]


def drain_one(two: InProcessEngine) -> list[object]:
    two.submit(ask())
    return drain(two)


@pytest.mark.parametrize("lost_at", [0, 1])
def test_who_may_degrade_goes_on_with_the_slm_alone(lost_at: int) -> None:
    """The first or second time that the LLM is asked it is lost; the SLM's own proposals stand from
    there on."""
    two = stitched()
    two.runners[LLM].fail_on = Breaks(DEVICE, lost_at, from_then_on=True)
    request = two.submit(replace(ask(), may_degrade=True))
    (answer,) = collect(drain(two), [request])
    assert isinstance(answer.end, Finished) and answer.end.usage.degraded
    assert answer.tokens == [9, 8 if lost_at else 7, 9, 7, 9, EOS]
    assert_clean(two)
    later = two.submit(replace(ask(), may_degrade=True))
    (answer,) = collect(drain(two), [later])
    assert answer.finished.usage.degraded and answer.tokens == [9, 7, 9, 7, 9, EOS]
    with pytest.raises(SideLost):
        two.submit(replace(ask(make("llm")), may_degrade=True))
    assert_clean(two)


def test_a_degraded_answer_that_rewinds_keeps_what_it_held_back() -> None:
    two = stitched()
    two.runners[LLM].fail_on = Breaks(DEVICE, 0, from_then_on=True)
    request = two.submit(replace(ask(make("rewind", tau=0.5)), may_degrade=True))
    (answer,) = collect(drain(two), [request])
    assert answer.finished.usage.degraded
    assert answer.tokens == [9, 7, 9, 7, 9, EOS]


def test_the_slm_cannot_be_done_without() -> None:
    two = stitched()
    two.runners[SLM].fail_on = Breaks(DEVICE, 1, from_then_on=True)
    request = two.submit(replace(ask(), may_degrade=True))
    assert ends(collect(drain(two), [request])) == ["SideLost"]
    assert two.stats()["lost"].keys() == {Side.SLM.label}


def test_errors_say_what_happened() -> None:
    two = stitched()
    two.runners[SLM].fail_on = Breaks(MEMORY, 0)
    (answer,) = collect(drain_one(two), ["r0"])
    assert isinstance(answer.end, Failed) and isinstance(answer.end.error, OutOfMemory)
    assert str(answer.end.error) == "the SLM ran out of memory in a pass of 1 rows"
    assert answer.end.error.__cause__ is MEMORY


def test_a_bias_keeps_its_meaning_when_the_llm_is_lost() -> None:
    """It was given in the LLM's ids, of which 10 is the SLM's 11."""
    two = stitched()
    moved = {10: 11, 11: 10}
    two = InProcessEngine(
        two.runners, frozenset({EOS}), two.config,
        translation=Translation(dict.fromkeys(Side, moved), {SLM: {}, LLM: {}}, {SLM: "", LLM: ""}),
    )  # fmt: skip
    two.runners[LLM].fail_on = Breaks(DEVICE, 0, from_then_on=True)
    biased = replace(
        ask(), may_degrade=True, max_tokens=3, sampling=Sampling(seed=1, logit_bias=((10, 100),))
    )
    name = two.submit(biased)
    (answer,) = collect(drain(two), [name])
    assert answer.finished.usage.degraded
    assert answer.tokens == [9, 11, 9], "the SLM is too sure of 9"


def test_a_policy_that_fails_in_the_quick_gate_ends_its_own_request_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Steered, "decide_row", fails)
    two = stitched()
    for _ in range(PATIENCE + 1):  # not a fault of the side, however often
        ids = [two.submit(ask(make("steered", tau=0.5))), two.submit(ask(make("slm")))]
        assert ends(collect(drain(two), ids)) == ["BadPolicy", "ok"]
    assert two.stats()["lost"] == {}
    assert_clean(two)

"""Signals: right where they are asked for, and not computed where they are not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.marks import Marks
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.policy.base import Decision, Signals, hand_off
from rstitch.policy.twostate import TwoState
from rstitch.types import Failed, Proposal, Sampling, Side
from tests.fakes import EOS, PROMPTS, says, scripted, sure, unsure
from tests.models import Answer, engine, model, prompt, run
from tests.same import assert_same_answers

SLM, LLM = Side.SLM, Side.LLM


class Reads(Policy):
    """Stays on the SLM and keeps everything; subclasses read something."""

    name = "reads"

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        return Decision(signals.side, torch.ones_like(signals.side).bool(), state)


@dataclass(frozen=True, slots=True)
class TopThree(Reads):
    name: ClassVar[str] = "top three"
    reads: ClassVar[tuple[str, ...]] = ("top_probs",)
    top: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class TopAll(Reads):
    name: ClassVar[str] = "top all"
    reads: ClassVar[tuple[str, ...]] = ("margin", "top_probs")
    top: ClassVar[int] = 20


@dataclass(frozen=True, slots=True)
class Places(Reads):
    """Where a thought is open, and where a step begins."""

    name: ClassVar[str] = "places"
    reads: ClassVar[tuple[str, ...]] = ("phase", "boundary")


@dataclass(frozen=True, slots=True)
class Scored(Policy):
    """Asks the LLM where the hidden state's sum, times `weight`, is positive."""

    name: ClassVar[str] = "scored"
    reads: ClassVar[tuple[str, ...]] = ("score", "max_prob")
    weight: float = 1.0

    def score(self, hidden: Tensor, signals: Signals) -> Tensor:
        assert hidden.shape[0] == len(signals.max_prob)
        return hidden.sum(1) * self.weight

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        return hand_off(signals, signals.score > 0, signals.score <= 0, state)


@dataclass(frozen=True, slots=True)
class Sneaky(Reads):
    """Reads a signal that it does not declare."""

    name: ClassVar[str] = "sneaky"

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        return hand_off(signals, signals.margin < 0.5, signals.margin > 0.5, state)


def ask(policy: Policy, **settings: Any) -> Request:
    return Request(**{"prompts": PROMPTS, "policy": policy, "max_tokens": 3, **settings})


def one(slm: Any, llm: Any, request: Request, **settings: Any) -> list[Proposal]:
    (answer,) = run(scripted(slm, llm, **settings), [request])
    return answer.proposals


P, REST = math.e**2 / (math.e**2 + 15), 1 / (math.e**2 + 15)
"""Probabilities of `unsure`: the likeliest, and each of the other fifteen."""


# -- values ---------------------------------------------------------------------------------------


def test_margin_and_the_likeliest_by_hand() -> None:
    (first, *_) = one(says(unsure(9)), says(), ask(make("margin", bound=0)))
    assert first.signals == {"margin": pytest.approx(P - REST, abs=1e-6)}
    (first, second, _) = one(says(unsure(9)), says(), ask(TopThree()))
    assert list(first.signals) == ["top_probs.0", "top_probs.1", "top_probs.2"]
    assert list(first.signals.values()) == pytest.approx([P, REST, REST], abs=1e-6)
    assert list(second.signals.values()) == [1, 0, 0]


def test_more_than_the_vocabulary_is_filled_with_zeros() -> None:
    (first, *_) = one(says(unsure(9)), says(), ask(TopAll()))
    assert first.signals["margin"] == pytest.approx(P - REST, abs=1e-6)
    tops = [first.signals[f"top_probs.{i}"] for i in range(20)]
    assert tops == pytest.approx([P, *[REST] * 15, *[0] * 4], abs=1e-6)


class Words:
    """Token 9 ends with a line feed, 10 starts with one, 11 holds a blank line, others are dull."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        self.seen[ids[0]] += 1
        return {9: "so.\n", 10: "\nthen", 11: "done.\n\nNext"}.get(ids[0], "x")

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()


def marks() -> Marks:
    """13 opens a thought, 14 closes it."""
    return Marks(dict.fromkeys(Side, (13, 14)), dict.fromkeys(Side, Words()))


def test_boundaries_by_hand() -> None:
    """A step begins at first, after a blank line in one token, and after one over two tokens; not
    after a single line feed, nor in the token after."""
    written = [2, 11, 2, 9, 2, 9, 10, 10, 9, 9, 2]
    known = marks()
    request = ask(Places(), max_tokens=len(written))
    steps = one(says(*map(sure, written)), says(), request, marks=known)
    begins = [p.signals["boundary"] for p in steps]
    assert begins == [1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]
    assert max(known.tokenizers[SLM].seen.values()) == 1, "a token was decoded again"


@pytest.mark.parametrize(
    ("opened", "phases"), [((), [0, 0, 1, 1, 0, 0]), ((13, 5), [1, 1, 1, 1, 0, 0])]
)
def test_phases_by_hand(opened: tuple[int, ...], phases: list[int]) -> None:
    """A mark changes what comes after it. The prompt may have opened the thought; a thought of an
    earlier turn, opened and closed, says nothing."""
    given = (13, 5, 14, *opened)
    request = ask(Places(), prompts={SLM: given, LLM: given}, max_tokens=6)
    written = says(*map(sure, (2, 13, 2, 14, 2, 2)))
    two = scripted(written, says(), marks=marks())
    two.runners[SLM].prompt = len(given)
    (answer,) = run(two, [request])
    assert [p.signals["phase"] for p in answer.proposals] == phases


def test_phase_and_boundary_follow_what_is_taken_back() -> None:
    """The SLM opens a thought and ends a step; the LLM takes both back."""

    @dataclass(frozen=True, slots=True)
    class Both(Policy):
        name: ClassVar[str] = "both"
        reads: ClassVar[tuple[str, ...]] = ("phase", "boundary", "span")

        def confirm(self, scores: Any) -> int:
            return 1

        @classmethod
        def decide(cls, signals: Signals, state: Tensor) -> Decision:
            return hand_off(signals, signals.entropy > 0.5, signals.entropy <= 0.5, state)

    slm = says(sure(2), sure(13), sure(11), unsure(3), then=sure(EOS))
    steps = one(slm, says(then=sure(4)), ask(Both(), max_tokens=9), marks=marks())
    seen = [(p.position, p.signals["phase"], p.signals["boundary"]) for p in steps[:6]]
    assert seen == [(0, 0, 1), (1, 0, 0), (2, 1, 0), (3, 1, 1), (1, 0, 0), (2, 0, 0)]


@pytest.mark.parametrize("rows", [1, 5])
def test_scores_are_of_the_states_that_the_head_reads(rows: int) -> None:
    """On random models, both sides, alone and among others that score with another weight: what
    transformers gives as the last hidden state of a full pass."""
    requests = [
        Request({s: prompt(4 + 3 * n, n) for s in Side}, Scored(1.0 + n % 2), max_tokens=12)
        for n in range(rows)
    ]
    for n, answer in enumerate(run(engine(), requests)):
        kept: list[int] = []
        for p in answer.proposals:
            want = _last_hidden(p.side, [*requests[n].prompts[p.side], *kept]).sum()
            got = p.signals["score"] / requests[n].policy.weight
            assert got == pytest.approx(float(want), abs=1e-3), p
            kept += [p.token] * p.keep
        assert {p.side for p in answer.proposals} == set(Side), "no hand-off: it proves little"


@torch.inference_mode()
def _last_hidden(side: Side, ids: list[int]) -> Tensor:
    base = model(side, "eager").model
    return base(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]


# -- only what is asked ---------------------------------------------------------------------------


def test_nothing_is_computed_that_no_row_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain rule, greedy: no draw, no coin, no likeliest k, no hidden state, one distribution
    per row and pass, and no token is looked at."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed though nobody asked")

    for name in ("coins", "gumbel", "filtered"):
        monkeypatch.setattr(sampling, name, never)
    for name in ("thinking", "begins_step"):
        monkeypatch.setattr(Marks, name, never)
    for name in ("topk", "sort"):
        monkeypatch.setattr(torch.Tensor, name, never)
    two = scripted(says(sure(9), unsure(3)), says(), marks=marks())
    answers = run(two, [ask(make("entropy", tau=0.5), max_tokens=6) for _ in range(3)])
    assert all(p.signals == {} and p.span == () for a in answers for p in a.proposals)
    for runner in two.runners.values():
        assert runner.hidden_passes == 0
        assert {n for wanted in runner.wanted for n in wanted} == {1}


def calls(request: Request, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each costly thing is computed for that request and two of the plain rule."""
    seen: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            seen[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(sampling, "coins")
    counted(torch.Tensor, "topk")
    counted(Marks, "thinking")
    counted(Marks, "begins_step")
    two = scripted(says(), says(), marks=marks())
    plain = [ask(make("entropy", tau=0.5)) for _ in range(2)]
    run(two, [request, *plain])
    seen["hidden"] = sum(runner.hidden_passes for runner in two.runners.values())
    return +seen


class Batched(TwoState):
    """Without a rule for one row."""

    name = "batched"

    @classmethod
    def decide(cls, signals: Signals, state: torch.Tensor) -> Decision:
        return TwoState.decide(signals, state)


@pytest.mark.parametrize(
    ("policy", "computed"),
    [
        (make("random", p=0, q=0), {}),  # row by row, in plain numbers
        (Batched(0, 0), {"coins": 3}),
        (make("margin", bound=0), {"topk": 3}),
        (TopAll(), {"topk": 3}),  # margin and the likeliest, once
        (make("phase", tau_think=0.5, tau_answer=0.5), {"thinking": 3}),  # of one row in three
        (Places(), {"thinking": 3, "begins_step": 3}),
        (make("confidence", threshold=0), {}),
    ],
)
def test_each_signal_is_computed_once_per_step(
    policy: Policy, computed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calls(ask(policy), monkeypatch) == computed


def test_hidden_states_are_asked_for_only_while_a_row_wants_them() -> None:
    """Three steps with the scoring row in flight; then the plain ones go on without."""
    two = scripted(says(then=sure(9)), says(then=sure(9)))
    run(two, [ask(Scored(), max_tokens=3), ask(make("slm"), max_tokens=8)])
    slm, llm = two.runners[SLM], two.runners[LLM]
    assert (slm.hidden_passes, len(slm.calls), llm.calls) == (3, 8, [])


@pytest.mark.parametrize("sampled", [Sampling(seed=4), Sampling(1.0, seed=4)])
def test_policies_of_one_batch_do_not_disturb_each_other(sampled: Sampling) -> None:
    """Every kind of signal in one batch, against each request alone."""
    policies = [TopThree(), TopAll(), Places(), Scored(), Scored(2.0), make("margin", bound=0.1)]
    policies += [make("window", tau=0.6, window=w) for w in (2, 5)]
    policies += [make("rewind", tau=0.7, epsilon=0.002), make("random", p=0.3, q=0.5)]
    requests = [
        Request({s: prompt(5 + n, n + 7 * s) for s in Side}, policy, sampled, 16)
        for n, policy in enumerate(policies)
    ]
    together = run(engine(max_rows=16), requests)
    alone: list[Answer] = [run(engine(), [request])[0] for request in requests]
    assert_same_answers(together, alone, requests)
    for mixed, single in zip(together, alone, strict=True):
        for a, b in zip(mixed.proposals, single.proposals, strict=False):
            assert a.signals.keys() == b.signals.keys()
            if (a.token, a.side) != (b.token, b.side):
                break
            assert a.signals == pytest.approx(b.signals, abs=1e-3)


# -- refused --------------------------------------------------------------------------------------


def test_a_signal_that_is_not_declared_cannot_be_read() -> None:
    """Whatever the neighbours read: the trace would not know it."""
    for others in ([], [ask(make("margin", bound=0))]):
        sneaky, *_ = run(scripted(says(), says()), [ask(Sneaky()), *others])
        assert isinstance(sneaky.end, Failed) and "NotInReads" in str(sneaky.end.error)


@pytest.mark.parametrize(
    ("policy", "known", "message"),
    [
        (make("phase", tau_think=0.1, tau_answer=0.1), None, "'phase' reads the phase, but this"),
        (make("phase", tau_think=0.1, tau_answer=0.1), Marks({}, {}), "no <think> and </think>"),
        (Places(), Marks(dict.fromkeys(Side, (13, 14)), {}), "reads boundaries; that needs a"),
    ],
)
def test_what_a_pair_does_not_have_is_refused(
    policy: Policy, known: Marks | None, message: str
) -> None:
    two = scripted(says(), says(), marks=known)
    with pytest.raises(BadRequest, match=message):
        two.submit(ask(policy))
    assert two.idle


@pytest.mark.parametrize("missing", ["score", "span"])
def test_what_a_policy_reads_it_has_to_bring_along(missing: str) -> None:
    half = dataclass(frozen=True)(
        type("Half", (Reads,), {"name": "half", "reads": (missing,), "__annotations__": {}})
    )
    llm_asks = type("Asks", (half,), {"decide": classmethod(lambda c, s, m: hand_off(
        s, s.entropy > 0.5, s.entropy <= 0.5, m))})  # fmt: skip
    (answer,) = run(scripted(says(sure(9), unsure(3)), says()), [ask(llm_asks())])
    assert isinstance(answer.end, Failed)
    assert f"reads {missing}, and has no" in str(answer.end.error)

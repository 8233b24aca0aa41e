"""The quick gate says what the thorough one says, and serves nobody who asks for more."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from rstitch import sampling
from rstitch.engine import gate, plain
from rstitch.engine.distribution import numbers
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.policy.base import Decision, RowSignals, Signals, hand_off
from rstitch.policy.entropy import EntropyThreshold
from rstitch.policy.steered import Steered
from rstitch.types import Sampling, Side
from tests.fakes import sure, unsure
from tests.same import TOLERANCE

POLICIES = [make("entropy", tau=tau) for tau in (-1, 0.0, 0.02, 0.5, 1.0)]
POLICIES += [make("slm"), make("llm")]


def row(policy: Policy, **settings: Any) -> Any:
    request = SimpleNamespace(policy=policy, sampling=Sampling(), top_logprobs=0)
    vars(request).update(settings)
    state = array("f", policy.initial_state())
    return SimpleNamespace(request=request, tokens=[1, 2, 3], state=state, span=None, seed=5)


@given(
    some.lists(some.floats(-60, 60, width=32), min_size=14, max_size=14),
    some.sampled_from(POLICIES),
    some.sampled_from(Side),
)
def test_it_is_the_thorough_gate(values: list[float], policy: Policy, side: Side) -> None:
    """With two padded columns, which nobody may read; three rows of which the middle is this."""
    logits = torch.stack([unsure(3), torch.tensor([*values, 99.0, 99.0]), sure(4)])
    rows = [row(one) for one in (make("slm"), policy, make("llm"))]
    quick = plain.read(logits, rows, side, 14)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "serves", lambda *_: False)
        thorough = gate.read(logits, rows, side, 14)
    for i, (ours, theirs) in enumerate(zip(quick, thorough, strict=True)):
        assert ours.entropy == pytest.approx(theirs.entropy, abs=1e-6)
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-5)
        tie = abs(float(logits[i, ours.token] - logits[i, theirs.token]))
        assert tie < TOLERANCE, (ours.token, theirs.token)
        near = [abs(ours.entropy - p.tau) < TOLERANCE for p in POLICIES if p.name == "entropy"]
        if not any(near):
            assert (ours.keep, ours.next_side) == (theirs.keep, theirs.next_side)
        assert (ours.position, ours.side, ours.signals, ours.back) == (3, side, {}, 0)


@given(
    some.floats(0, 1, width=32),
    some.sampled_from(POLICIES),
    some.sampled_from(Side),
)
def test_a_plain_decision_is_the_batched_one(entropy: float, policy: Policy, side: Side) -> None:
    """On the threshold itself too, to the last bit of float32."""
    for value in (entropy, float(np.float32(getattr(policy, "tau", 0.5)))):
        value = min(max(value, 0.0), 1.0)
        signals = Signals(torch.tensor([int(side)]), torch.tensor([value], dtype=torch.float32))
        state = torch.tensor([policy.initial_state()], dtype=torch.float32)
        batched = policy.decide(signals, state)
        want = Side(int(batched.next_side[0])), bool(batched.keep[0])
        seen = plain.Seen(row(policy), side, float(np.float32(value)), None, float)
        assert policy.decide_row(seen) == want


@given(some.integers(-(2**62), 2**62), some.integers(0, 2**20), some.sampled_from(Side))
def test_a_coin_is_the_batched_one(seed: int, position: int, side: Side) -> None:
    """And with it the rule that throws it."""
    batched = sampling.coins(torch.tensor([seed]), torch.tensor([position]), int(side))
    assert sampling.coin(seed, position, int(side)) == float(batched)
    policy = make("random", p=0.3, q=0.6)
    one = row(policy)
    one.seed, one.tokens = seed, range(position)
    seen = plain.Seen(one, side, 0.5, None, float)
    signals = Signals(torch.tensor([int(side)]), torch.tensor([0.5]), coin=batched)
    decided = policy.decide(signals, torch.tensor([policy.initial_state()]))
    assert policy.decide_row(seen) == (int(decided.next_side), bool(decided.keep))


def test_a_rule_of_ones_own_is_not_taken_for_the_one_it_comes_from() -> None:
    class Contrary(EntropyThreshold):
        """Its own `decide`, and what it inherits besides."""

        name = "contrary"

        @classmethod
        def decide(cls, signals: Signals, state: torch.Tensor) -> Decision:
            return hand_off(signals, signals.entropy < state[:, 0], signals.entropy > 1, state)

    class Curious(EntropyThreshold):
        name, reads = "curious", ("max_prob",)

    class Renamed(EntropyThreshold):
        name = "renamed"

    class Unsteered(Steered):
        name = "unsteered"

        @classmethod
        def decide(cls, signals: Signals, state: torch.Tensor) -> Decision:
            return hand_off(signals, signals.entropy > 1, signals.entropy > 1, state)

    assert Steered.rowwise and not Unsteered.rowwise
    assert EntropyThreshold.rowwise and Renamed.rowwise
    assert not Contrary.rowwise and not Curious.rowwise


def test_a_row_has_no_margin() -> None:
    with pytest.raises(BadRequest, match="Hasty has decide_row and reads margin; there it can"):

        class Hasty(EntropyThreshold):
            name, reads = "hasty", ("margin",)

            def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
                return seen.side, True


def test_entropy_in_float32() -> None:
    """Uniform, one-hot, impossible tokens, a large vocabulary."""
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(2, 150_000, generator=generator) * 4
    for logits in (torch.zeros(1, 97), torch.stack([sure(3), unsure(2)]), large):
        size = logits.shape[1]
        rows = [row(make("slm")) for _ in logits]
        got = [p.entropy for p in plain.read(logits, rows, Side.SLM, size)]
        logp = torch.log_softmax(logits.double(), -1)
        want = (torch.special.entr(logp.exp()).sum(-1) / math.log(size)).tolist()
        assert got == pytest.approx(want, abs=2e-6)
        assert all(0 <= h <= 1 and h == float(np.float32(h)) for h in got)
        assert got == pytest.approx(sampling.entropy(logp.float()).tolist(), abs=2e-6)


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        (make("confidence", threshold=0.8), {}),
        (make("window", tau=0.5, window=3), {}),
        (make("rewind", tau=0.5, epsilon=0.1), {}),
        (make("entropy", tau=0.5), {"sampling": Sampling(0.7)}),
        (make("entropy", tau=0.5), {"top_logprobs": 2}),
    ],
    ids=str,
)
def test_who_asks_for_more_is_not_served(policy: Policy, settings: dict[str, Any]) -> None:
    logits, ours = torch.zeros(2, 16), row(make("slm"))
    assert plain.serves(logits, [ours, ours], 16)
    assert not plain.serves(logits, [ours, row(policy, **settings)], 16)
    assert not plain.serves(logits.half(), [ours], 16)
    assert not plain.serves(logits, [ours], 1)


def test_logits_that_are_none_are_not_sure() -> None:
    """NaN is no entropy: neither gate takes it for 0."""
    logits = torch.full((1, 16), torch.nan)
    (quick,) = plain.read(logits, [row(make("entropy", tau=0.5))], Side.SLM, 16)
    assert math.isnan(quick.entropy)
    assert replace(quick, entropy=0.0).keep == quick.keep


@pytest.mark.parametrize("spread", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("impossible", [False, True])
def test_a_wide_row_is_read_alike(spread: float, impossible: bool) -> None:
    """With as many columns as real models have, where it goes by another way."""
    logits = torch.randn(6, 50_000, generator=torch.Generator().manual_seed(1)) * spread
    if impossible:
        logits[:, 40_000:] = -torch.inf
    logp = sampling.log_probs(logits, 49_000)
    best, ids = logp.max(-1)
    got = list(numbers(logits.numpy()[:, :49_000]))
    assert [token for token, _, _ in got] == ids.tolist()
    assert [p for _, p, _ in got] == pytest.approx(best.tolist(), abs=2e-5)
    assert [h for _, _, h in got] == pytest.approx(sampling.entropy(logp).tolist(), abs=2e-6)

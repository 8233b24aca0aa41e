"""Every routing rule against tables worked out by hand, and its rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rstitch import sampling
from rstitch.policy import Policy, make
from rstitch.types import Side
from tests.policy.reading import (
    LEAVE_LLM,
    LEAVE_SLM,
    LLM,
    SLM,
    STAY_LLM,
    STAY_SLM,
    decide,
    many_rows,
    signals,
    states,
)

# -- by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tau", "entropy", "on_slm", "on_llm"),
    [
        (0.3, 0.0, STAY_SLM, LEAVE_LLM),
        (0.3, 0.29, STAY_SLM, LEAVE_LLM),
        (0.3, 0.31, LEAVE_SLM, STAY_LLM),
        (0.3, 1.0, LEAVE_SLM, STAY_LLM),
        (0.5, 0.5, STAY_SLM, LEAVE_LLM),  # H > tau leaves, H <= tau returns
        (0, 0.0, STAY_SLM, LEAVE_LLM),
        (0, 1e-30, LEAVE_SLM, STAY_LLM),
        (1, 1.0, STAY_SLM, LEAVE_LLM),  # never left
        (7.5, 1.0, STAY_SLM, LEAVE_LLM),
        (-0.1, 0.0, LEAVE_SLM, STAY_LLM),  # never left
        (math.inf, 1.0, STAY_SLM, LEAVE_LLM),
        (-math.inf, 0.0, LEAVE_SLM, STAY_LLM),
    ],
)
def test_entropy(
    tau: float, entropy: float, on_slm: tuple[Side, bool], on_llm: tuple[Side, bool]
) -> None:
    policy = make("entropy", tau=tau)
    assert decide(policy, signals(SLM, entropy)) == [on_slm]
    assert decide(policy, signals(LLM, entropy)) == [on_llm]


@pytest.mark.parametrize(
    ("threshold", "max_prob", "on_slm", "on_llm"),
    [
        (0.6, 0.9, STAY_SLM, LEAVE_LLM),
        (0.6, 0.59, LEAVE_SLM, STAY_LLM),
        (0.5, 0.5, STAY_SLM, LEAVE_LLM),  # p < threshold leaves, p >= threshold returns
        (0, 0.01, STAY_SLM, LEAVE_LLM),
        (1, 0.999, LEAVE_SLM, STAY_LLM),
        (1, 1.0, STAY_SLM, LEAVE_LLM),
    ],
)
def test_confidence(
    threshold: float, max_prob: float, on_slm: tuple[Side, bool], on_llm: tuple[Side, bool]
) -> None:
    policy = make("confidence", threshold=threshold)
    assert decide(policy, signals(SLM, max_prob=max_prob)) == [on_slm]
    assert decide(policy, signals(LLM, max_prob=max_prob)) == [on_llm]


@pytest.mark.parametrize(
    ("p", "q", "coin", "on_slm", "on_llm"),
    [
        (0.25, 0.75, 0.2, LEAVE_SLM, LEAVE_LLM),
        (0.25, 0.75, 0.5, STAY_SLM, LEAVE_LLM),
        (0.25, 0.75, 0.8, STAY_SLM, STAY_LLM),
        (0.25, 0.75, 0.25, STAY_SLM, LEAVE_LLM),
        (0, 0, 0.0, STAY_SLM, STAY_LLM),  # never, whatever the coin
        (1, 1, 1 - 2**-24, LEAVE_SLM, LEAVE_LLM),  # always; the largest coin
    ],
)
def test_random(
    p: float, q: float, coin: float, on_slm: tuple[Side, bool], on_llm: tuple[Side, bool]
) -> None:
    policy = make("random", p=p, q=q)
    assert decide(policy, signals(SLM, coin=coin)) == [on_slm]
    assert decide(policy, signals(LLM, coin=coin)) == [on_llm]


@pytest.mark.parametrize(
    ("bound", "gap", "on_slm", "on_llm"),
    [
        (0.4, 0.9, STAY_SLM, LEAVE_LLM),
        (0.4, 0.39, LEAVE_SLM, STAY_LLM),
        (0.5, 0.5, STAY_SLM, LEAVE_LLM),  # below leaves, at and above returns
        (0, 0.0, STAY_SLM, LEAVE_LLM),  # never left
        (1, 0.999, LEAVE_SLM, STAY_LLM),
        (1, 1.0, STAY_SLM, LEAVE_LLM),
    ],
)
def test_margin(
    bound: float, gap: float, on_slm: tuple[Side, bool], on_llm: tuple[Side, bool]
) -> None:
    policy = make("margin", bound=bound)
    assert decide(policy, signals(SLM, margin=gap)) == [on_slm]
    assert decide(policy, signals(LLM, margin=gap)) == [on_llm]


@pytest.mark.parametrize(
    ("phase", "entropy", "on_slm", "on_llm"),
    [
        (1, 0.5, STAY_SLM, LEAVE_LLM),  # in a thought, up to 0.6
        (1, 0.61, LEAVE_SLM, STAY_LLM),
        (0, 0.5, LEAVE_SLM, STAY_LLM),  # in the answer, up to 0.2
        (0, 0.19, STAY_SLM, LEAVE_LLM),
    ],
)
def test_phase(
    phase: float, entropy: float, on_slm: tuple[Side, bool], on_llm: tuple[Side, bool]
) -> None:
    policy = make("phase", tau_think=0.6, tau_answer=0.2)
    assert decide(policy, signals(SLM, entropy, phase=phase)) == [on_slm]
    assert decide(policy, signals(LLM, entropy, phase=phase)) == [on_llm]


def walk(policy: Policy, *proposals: tuple[Side, float]) -> list[tuple[Side, bool]]:
    """(next side, kept) of each (side, entropy) in turn; whose turn it is must agree."""
    state, said, turn = states(policy, 1), [], policy.start()
    for side, entropy in proposals:
        assert side is turn, f"after {said} it is the {turn.name}'s turn"
        decision = policy.decide(signals(side, entropy), state)
        state, turn = decision.state, Side(int(decision.next_side))
        said.append((turn, bool(decision.keep)))
    return said


def test_window_by_hand() -> None:
    """tau 0.5 over three proposals: means 0.3, 0.45, 0.4, then 0.57 leaves although the one before
    it was above tau alone. The LLM goes by its own entropy and adds nothing to the ring: back on
    the SLM, (0.3 + 1.0 + 0.1) / 3 stays, (1.0 + 0.1 + 0.9) / 3 leaves."""
    policy = make("window", tau=0.5, window=3)
    assert walk(
        policy,
        (SLM, 0.3), (SLM, 0.6), (SLM, 0.3), (SLM, 1.0),
        (LLM, 0.6), (LLM, 0.5),
        (SLM, 0.1), (SLM, 0.9),
    ) == [
        STAY_SLM, STAY_SLM, STAY_SLM, LEAVE_SLM,
        STAY_LLM, LEAVE_LLM,
        STAY_SLM, LEAVE_SLM,
    ]  # fmt: skip


@pytest.mark.parametrize(("tau", "said"), [(0.0, LEAVE_SLM), (0.95, STAY_SLM)])
def test_window_always_and_never(tau: float, said: tuple[Side, bool]) -> None:
    assert walk(make("window", tau=tau), (SLM, 0.9)) == [said]


def test_a_window_of_one_is_the_entropy_rule() -> None:
    given = many_rows(300)
    one, plain = make("window", tau=0.4, window=1), make("entropy", tau=0.4)
    assert decide(one, given) == decide(plain, given)


def test_hysteresis_by_hand() -> None:
    """Out above 0.6 after two kept SLM tokens, back at or below 0.2 after two LLM tokens."""
    policy = make("hysteresis", tau_out=0.6, tau_back=0.2, min_slm=2, min_llm=2)
    assert walk(
        policy,
        (SLM, 0.9), (SLM, 0.9), (SLM, 0.6), (SLM, 0.7),  # kept, kept, not above, out
        (LLM, 0.1), (LLM, 0.21), (LLM, 0.2),  # too early, not at, back
        (SLM, 0.9), (SLM, 0.9), (SLM, 0.9),  # a stay of its own again
    ) == [
        STAY_SLM, STAY_SLM, STAY_SLM, LEAVE_SLM,
        STAY_LLM, STAY_LLM, LEAVE_LLM,
        STAY_SLM, STAY_SLM, LEAVE_SLM,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tau_out", "tau_back", "start", "sides"),
    [
        (1.0, 0.2, SLM, (SLM,)),
        (-1, -1, LLM, (LLM,)),
        (-1, 0.2, SLM, (SLM, LLM)),
        (0.5, -1, SLM, (SLM, LLM)),  # once out, never back
    ],
)
def test_ends_of_hysteresis(
    tau_out: float, tau_back: float, start: Side, sides: tuple[Side, ...]
) -> None:
    policy = make("hysteresis", tau_out=tau_out, tau_back=tau_back, min_slm=5)
    assert (policy.start(), policy.sides()) == (start, sides)


@pytest.mark.parametrize(
    ("think", "answer", "sides"),
    [(1, 1.5, (SLM,)), (-1, -2, (LLM,)), (1, -1, (SLM, LLM)), (0.3, 1, (SLM, LLM))],
)
def test_ends_of_phase(think: float, answer: float, sides: tuple[Side, ...]) -> None:
    policy = make("phase", tau_think=think, tau_answer=answer)
    assert (policy.start(), policy.sides()) == (sides[0], sides)


@pytest.mark.parametrize(
    ("epsilon", "probabilities", "stay"),
    [
        (0.1, [0.5, 0.2, 0.1], 3),  # at epsilon it stays
        (0.1, [0.5, 0.09, 0.9], 1),  # the first below it, and all after
        (0.1, [0.01], 0),
        (0.1, [0.0], 0),
        (0.0, [0.0, 0.0], 2),  # never
        (1.0, [1.0, 0.999999], 1),  # whatever is not certain
        (0.1, [], 0),
    ],
)
def test_rewind(epsilon: float, probabilities: list[float], stay: int) -> None:
    scores = torch.tensor(probabilities).log().tolist()
    assert make("rewind", tau=0.3, epsilon=epsilon).confirm(scores) == stay


@pytest.mark.parametrize(("name", "side"), [("slm", SLM), ("llm", LLM)])
def test_alone_keeps_everything_and_stays(name: str, side: Side) -> None:
    policy = make(name)
    assert policy.start() is side
    assert policy.sides() == (side,)
    extremes = signals(side, [0.0, 1.0], [1.0, 0.01], [0.0, 0.99])
    assert decide(policy, extremes) == [(side, True)] * 2


@pytest.mark.parametrize(
    ("tau", "start", "sides"),
    [
        (-0.1, LLM, (LLM,)),
        (-1e-60, LLM, (LLM,)),
        (0.0, SLM, (SLM, LLM)),
        (0.999, SLM, (SLM, LLM)),
        (1.0, SLM, (SLM,)),
        (2, SLM, (SLM,)),
    ],
)
def test_both_ends_of_tau_name_one_side(tau: float, start: Side, sides: tuple[Side, ...]) -> None:
    policy = make("entropy", tau=tau)
    assert (policy.start(), policy.sides()) == (start, sides)


@pytest.mark.parametrize("tau", [-1.0, -1e-30, -1e-46, -1e-60, 1.0, 1.5, 1e60])
@pytest.mark.parametrize("entropy", [0.0, 0.5, 1.0])
def test_a_policy_with_one_side_never_asks_the_other(tau: float, entropy: float) -> None:
    """A tau that float32 rounds to -0.0 too: the other side has no prompt to run on."""
    policy = make("entropy", tau=tau)
    (side,) = policy.sides()
    assert decide(policy, signals(side, entropy)) == [(side, True)]


def test_tau_is_compared_in_float32() -> None:
    """0.3 is no float32: an entropy of float32(0.3) must count as equal, its neighbour as above."""
    for tau in (0.1, 0.3, 0.02, 1 / 3):
        same = np.float32(tau)
        below, above = np.nextafter(same, np.float32(0)), np.nextafter(same, np.float32(1))
        row = signals(SLM, [float(below), float(same), float(above)])
        assert decide(make("entropy", tau=tau), row) == [STAY_SLM, STAY_SLM, LEAVE_SLM]
        assert decide(make("entropy", tau=float(same)), row) == [STAY_SLM, STAY_SLM, LEAVE_SLM]
        row = signals(LLM, [float(below), float(same), float(above)])
        assert decide(make("entropy", tau=tau), row) == [LEAVE_LLM, LEAVE_LLM, STAY_LLM]


# -- rates ----------------------------------------------------------------------------------------

COINS = 20_000


@pytest.mark.parametrize(("p", "q"), [(0.04, 0.3), (0.35, 0.5), (0.9, 0.01)])
def test_random_hands_over_at_its_rates(p: float, q: float) -> None:
    """Over 20,000 coins within five standard errors: odds 6e-7 per rate, for a seed not fixed."""
    policy = make("random", p=p, q=q)
    for side, rate in ((SLM, p), (LLM, q)):
        coin = sampling.coins(torch.full((COINS,), 77), torch.arange(COINS), side)
        rows = signals(side, coin=coin.tolist())
        left = sum(next_side is not side for next_side, _ in decide(policy, rows)) / COINS
        error = math.sqrt(rate * (1 - rate) / COINS)
        assert abs(left - rate) < 5 * error, f"left {side.name} at {left:.4f} instead of {rate}"


def test_random_reproduces_share_and_run_length() -> None:
    """Walked position by position, LLM runs last 1/q tokens and SLM runs 1/p - 1, on average;
    each within five standard errors of 3,000 positions."""
    p, q, policy = 0.2, 0.5, make("random", p=0.2, q=0.5)
    side, runs = SLM, {SLM: [0], LLM: [0]}
    coins = {s: sampling.coins(torch.full((3000,), 5), torch.arange(3000), s) for s in Side}
    position = 0
    while position < 3000:
        ((next_side, kept),) = decide(policy, signals(side, coin=float(coins[side][position])))
        runs[side][-1] += kept
        position += kept
        if next_side is not side:
            runs[next_side].append(0)
        side = next_side
    for side, mean, spread in (
        (SLM, 1 / p - 1, math.sqrt(1 - p) / p),
        (LLM, 1 / q, math.sqrt(1 - q) / q),
    ):
        done = torch.tensor(runs[side][1:-1], dtype=torch.float64)
        error = spread / math.sqrt(len(done))
        assert abs(done.mean() - mean) < 5 * error, f"{side.name}: {done.mean():.3f}, not {mean}"

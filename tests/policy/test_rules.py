"""Every routing rule against tables worked out by hand, and the laws all policies keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rstitch import sampling
from rstitch.errors import BadRequest
from rstitch.policy import REGISTRY, Policy, make
from rstitch.policy.base import Signals
from rstitch.types import Side

SLM, LLM = Side.SLM, Side.LLM

PARAMETERS: dict[str, dict[str, float]] = {
    "entropy": {"tau": 0.3},
    "confidence": {"threshold": 0.6},
    "margin": {"bound": 0.4},
    "window": {"tau": 0.3, "window": 4},
    "hysteresis": {"tau_out": 0.5, "tau_back": 0.2, "min_slm": 2, "min_llm": 3},
    "phase": {"tau_think": 0.6, "tau_answer": 0.2},
    "rewind": {"tau": 0.3, "epsilon": 0.05},
    "slm": {},
    "llm": {},
    "random": {"p": 0.3, "q": 0.6},
}
"""One setting of every policy that has a name."""


def signals(
    side: Side | list[Side],
    entropy: list[float] | float = 0.0,
    max_prob: list[float] | float = 0.5,
    coin: list[float] | float = 0.5,
    **others: list[float] | float,
) -> Signals:
    sides = side if isinstance(side, list) else [side]
    given = {"entropy": entropy, "max_prob": max_prob, "coin": coin, **others}
    columns = {name: c if isinstance(c, list) else [c] for name, c in given.items()}
    rows = max(len(sides), *map(len, columns.values()))
    return Signals(
        torch.tensor(sides).expand(rows).clone(),
        **{
            name: torch.tensor(c, dtype=torch.float32).expand(rows).clone()
            for name, c in columns.items()
        },
    )


def states(policy: Policy, rows: int) -> Tensor:
    return torch.tensor([policy.initial_state()] * rows, dtype=torch.float32).view(rows, -1)


def memories(policy: Policy, rows: int) -> Tensor:
    """States as they are after a few random steps, different in every row."""
    state = states(policy, rows)
    for seed in range(1, 8):
        state = policy.decide(many_rows(rows, seed), state).state
    return state


def decide(policy: Policy, given: Signals) -> list[tuple[Side, bool]]:
    """(next side, kept) per row."""
    decision = policy.decide(given, states(policy, len(given.side)))
    return [
        (Side(s), k)
        for s, k in zip(decision.next_side.tolist(), decision.keep.tolist(), strict=True)
    ]


STAY_SLM, LEAVE_SLM = (SLM, True), (LLM, False)
STAY_LLM, LEAVE_LLM = (LLM, True), (SLM, True)


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


# -- laws of every policy -------------------------------------------------------------------------


NAMES = ("side", "entropy", "max_prob", "coin", "margin", "phase", "boundary")
"""Signals that are one number per row and that a built-in policy may read."""


def many_rows(n: int, seed: int = 0) -> Signals:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(len(NAMES) - 1, n, generator=generator)
    side = torch.randint(0, 2, (n,), generator=generator)
    return Signals(side, **dict(zip(NAMES[1:], numbers, strict=True)))


def rows(part: Signals, at: slice) -> Signals:
    return Signals(**{name: getattr(part, name)[at] for name in NAMES})


@pytest.mark.parametrize("name", REGISTRY)
def test_decisions_are_row_wise_and_pure(name: str) -> None:
    """All rows at once, one by one and twice: the same, with no change of what went in."""
    policy = make(name, **PARAMETERS[name])
    given = many_rows(200)
    state = memories(policy, 200)
    went_in = [*(getattr(given, name) for name in NAMES), state]
    before = [tensor.clone() for tensor in went_in]
    together = policy.decide(given, state)
    again = policy.decide(given, state)
    for i in range(200):
        alone = policy.decide(rows(given, slice(i, i + 1)), state[i : i + 1])
        for column in ("next_side", "keep", "state"):
            mine, batched = getattr(alone, column)[0], getattr(together, column)[i]
            assert torch.equal(mine, batched), f"row {i}: {column} {mine}, in a batch {batched}"
            assert torch.equal(batched, getattr(again, column)[i])
    assert all(torch.equal(a, b) for a, b in zip(before, went_in, strict=True))


@pytest.mark.parametrize("name", REGISTRY)
def test_decisions_have_the_promised_types(name: str) -> None:
    policy = make(name, **PARAMETERS[name])
    decision = policy.decide(many_rows(7), states(policy, 7))
    assert decision.next_side.dtype == torch.int64 and decision.next_side.shape == (7,)
    assert decision.keep.dtype == torch.bool and decision.keep.shape == (7,)
    assert decision.state.dtype == torch.float32
    assert decision.state.shape == (7, len(policy.initial_state()))


@pytest.mark.parametrize("name", REGISTRY)
def test_a_discarded_position_goes_to_the_other_side(name: str) -> None:
    policy = make(name, **PARAMETERS[name])
    given = many_rows(500)
    decision = policy.decide(given, states(policy, 500))
    dropped = ~decision.keep
    assert torch.equal(decision.next_side[dropped], 1 - given.side[dropped])


@pytest.mark.parametrize("name", REGISTRY)
def test_only_declared_signals_are_read(name: str) -> None:
    """What is not in `reads` is not recorded, so a replay would not know it."""
    policy = make(name, **PARAMETERS[name])
    given = many_rows(200)
    known = {"side", "entropy", *policy.reads}
    seen = Signals(**{n: getattr(given, n) for n in NAMES if n in known})
    full, partial = (policy.decide(s, states(policy, 200)) for s in (given, seen))
    assert torch.equal(full.next_side, partial.next_side)
    assert torch.equal(full.keep, partial.keep)


def test_one_batch_may_mix_parameters() -> None:
    """Parameters are rows of the state, not of the class."""
    taus = [0.1, 0.5, 0.9]
    state = torch.tensor([make("entropy", tau=tau).initial_state() for tau in taus])
    decision = make("entropy", tau=0.0).decide(signals([SLM] * 3, [0.6] * 3), state)
    assert decision.next_side.tolist() == [LLM, LLM, SLM]


# -- made by name ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTRY)
def test_a_policy_is_made_again_from_its_spec(name: str) -> None:
    policy = make(name, **PARAMETERS[name])
    assert policy.spec() == {"name": name, **PARAMETERS[name]}
    assert make(**policy.spec()) == policy


def test_an_unknown_policy_is_refused_with_the_known_names() -> None:
    with pytest.raises(BadRequest, match="'entropie'") as error:
        make("entropie", tau=0.1)
    assert all(name in str(error.value) for name in REGISTRY)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("entropy", {"tau": 0.1, "treshold": 0.5}, "no parameter 'treshold'; it takes tau"),
        ("slm", {"tau": 0.1}, "no parameter 'tau'; it takes none"),
        ("entropy", {}, "needs a value for 'tau'"),
        ("random", {"p": 0.1}, "needs a value for 'q'"),
        ("confidence", {"tau": 0.1}, "no parameter 'tau'; it takes threshold"),
        ("window", {}, "needs a value for 'tau'; it takes tau, window"),
        ("hysteresis", {"tau_out": 0.1}, "needs a value for 'tau_back'"),
        ("phase", {"tau_think": 0.1}, "needs a value for 'tau_answer'"),
        ("rewind", {"epsilon": 0.1}, "needs a value for 'tau'; it takes tau, epsilon"),
        ("margin", {}, "needs a value for 'bound'"),
    ],
)
def test_parameters_are_refused_by_name(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        make(name, **params)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        *[("entropy", "tau", v) for v in (math.nan, "0.1", None, True, [0.1])],
        *[("confidence", "threshold", v) for v in (math.nan, -0.1, 1.1, "0.5", None, False)],
        *[("random", "p", v) for v in (math.nan, -0.1, 1.1, "0.5", None)],
        *[("random", "q", v) for v in (math.nan, -1e-9, 2, True)],
        *[("margin", "bound", v) for v in (math.nan, -0.1, 1.1, "0.5", None)],
        *[("window", "tau", v) for v in (math.nan, "0.5")],
        *[("window", "window", v) for v in (0, -1, 2.5, math.inf, math.nan, "3", True, 2000)],
        *[("hysteresis", p, v) for p in ("tau_out", "tau_back") for v in (math.nan, "1", None)],
        *[("hysteresis", "min_slm", v) for v in (-1, 0.5, "1", 10**7)],
        *[("hysteresis", "min_llm", v) for v in (0, 1.5, None)],
        *[("phase", p, v) for p in ("tau_think", "tau_answer") for v in (math.nan, "1", True)],
        *[("rewind", "tau", v) for v in (math.nan, "1")],
        *[("rewind", "epsilon", v) for v in (math.nan, -0.1, 1.1, "0.1", None)],
    ],
)
def test_values_that_are_no_numbers_are_refused(name: str, parameter: str, value: object) -> None:
    params = {**PARAMETERS[name], parameter: value}
    with pytest.raises(BadRequest, match=f"^{parameter} is ") as error:
        make(name, **params)
    assert repr(value) in str(error.value)

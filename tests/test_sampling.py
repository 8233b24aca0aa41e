"""Filters and counter-based draws, against figures worked out by hand and slow paths."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from rstitch import sampling, shortlist
from rstitch.types import Sampling, Side

DRAWS = 20_000
ODDS = 1e-6
"""Of a sound generator failing one goodness-of-fit test, were its seed not fixed."""


def filters(
    rows: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    vocab_size: int = 4,
) -> sampling.Filters:
    return sampling.Filters(
        temperature=torch.full((rows,), temperature),
        top_k=torch.full((rows,), top_k or vocab_size),
        top_p=torch.full((rows,), top_p),
        min_p=torch.full((rows,), min_p),
    )


def rows_of(probs: list[float], rows: int = 1) -> Tensor:
    return torch.tensor(probs).log().expand(rows, -1)


def counters(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """One seed, n positions."""
    return torch.full((n,), seed), torch.arange(n)


def p_value(counts: Tensor, probs: Tensor) -> float:
    """Of Pearson's chi-square test that the counts were drawn with these probabilities."""
    possible = probs > 0
    assert int(counts[~possible].sum()) == 0, f"impossible ids were drawn: {counts.tolist()}"
    expected = probs[possible].double() * counts.sum()
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = torch.tensor((int(possible.sum()) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


# -- filters --------------------------------------------------------------------------------------

PROBS = [0.1, 0.4, 0.2, 0.3]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 3}),
        ({"top_k": 99}, {0, 1, 2, 3}),
        ({"top_p": 1e-9}, {1}),
        ({"top_p": 0.35}, {1}),
        ({"top_p": 0.45}, {1, 3}),  # 0.4 is not enough
        ({"top_p": 0.75}, {1, 2, 3}),
        ({"top_p": 0.95}, {0, 1, 2, 3}),
        ({"min_p": 1.0}, {1}),
        ({"min_p": 0.7}, {1, 3}),  # at least 0.28
        ({"min_p": 0.4}, {1, 2, 3}),
        ({"min_p": 0.2}, {0, 1, 2, 3}),
        # Temperature first: square roots, normalised, are .163 .325 .230 .282
        ({"temperature": 2.0, "top_p": 0.65}, {1, 2, 3}),
        ({"temperature": 2.0, "min_p": 0.6}, {1, 2, 3}),
        # Squares, normalised, are .033 .533 .133 .300
        ({"temperature": 0.5, "top_p": 0.52}, {1}),
        # What top-k leaves is normalised before top-p: 4/7 alone reaches 0.55
        ({"top_k": 2, "top_p": 0.55}, {1}),
        ({"top_k": 2, "top_p": 0.6}, {1, 3}),
        ({"top_k": 3, "top_p": 0.7, "min_p": 0.9}, {1}),
    ],
)
def test_filters_by_hand(settings: dict[str, float], kept: set[int]) -> None:
    out = sampling.filtered(rows_of(PROBS), filters(**settings))[0]
    assert {i for i in range(4) if out[i] > -torch.inf} == kept
    scaled = rows_of(PROBS)[0] / settings.get("temperature", 1.0)
    for i in kept:  # up to what normalising would take away
        assert out[i] - out[1] == pytest.approx(float(scaled[i] - scaled[1]), abs=1e-6)


def test_rows_are_filtered_each_by_its_own_settings() -> None:
    settings = sampling.Filters(
        temperature=torch.tensor([1.0, 2.0, 1.0]),
        top_k=torch.tensor([4, 4, 2]),
        top_p=torch.tensor([0.45, 0.65, 1.0]),
        min_p=torch.tensor([0.0, 0.0, 0.9]),
    )
    out = sampling.filtered(rows_of(PROBS, 3), settings)
    assert [(row > -torch.inf).nonzero().flatten().tolist() for row in out] == [
        [1, 3],
        [1, 2, 3],
        [1],
    ]


def test_top_k_keeps_exactly_k_of_equals() -> None:
    out = sampling.filtered(rows_of([0.25] * 4), filters(top_k=2))
    assert int((out > -torch.inf).sum()) == 2


def test_filters_that_are_off_drop_nothing() -> None:
    """Even where one token has all but nothing of the probability."""
    logits = torch.tensor([[0.0, -1.0, -5.0, -9.0], [0.0, -17.0, -20.0, -40.0]])
    logp = torch.log_softmax(logits, dim=-1)
    out = sampling.filtered(logp, filters(rows=2))
    assert torch.isfinite(out).all(), f"dropped: {out.tolist()}"
    assert torch.allclose(torch.log_softmax(out, dim=-1), logp)


def slow_filter(
    probs: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> tuple[set[int], float]:
    """The same in plain Python, and how near it came to another result."""
    powers = [p ** (1 / temperature) for p in probs]
    ranked = sorted(range(len(probs)), key=lambda i: -powers[i])
    kept = ranked[: top_k or len(probs)]
    total = sum(powers[i] for i in kept)
    near = [
        abs(powers[a] - powers[b]) / powers[a] for a, b in zip(ranked, ranked[1:], strict=False)
    ]
    before, survivors = 0.0, set()
    for i in kept:
        share = powers[i] / total
        near += [abs(before - top_p), abs(share - min_p * powers[kept[0]] / total)]
        if i == kept[0] or (before < top_p and share >= min_p * powers[kept[0]] / total):
            survivors.add(i)
        before += share
    return survivors, min(near[:-1] if len(near) > 1 else near)


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=9, unique=True),
    st.sampled_from([0.3, 0.7, 1.0, 1.5]),
    st.integers(0, 9),
    st.floats(0.01, 0.999),
    st.floats(0.001, 0.999),
)
def test_filters_against_plain_python(
    weights: list[int], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    probs = [w / sum(weights) for w in weights]
    want, near = slow_filter(probs, temperature, top_k, top_p, min_p)
    assume(near > 1e-5)
    settings = filters(1, temperature, top_k, top_p, min_p, vocab_size=len(probs))
    out = sampling.filtered(rows_of(probs), settings)[0]
    assert {i for i in range(len(probs)) if out[i] > -torch.inf} == want


# -- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-3}],
    ids=lambda settings: next(iter(settings)),
)
def test_limits_that_are_greedy(settings: dict[str, float]) -> None:
    torch.manual_seed(3)
    logp = torch.log_softmax(torch.randn(500, 97) * 2, dim=-1)
    drawn = sampling.draw(logp, filters(500, **settings, vocab_size=97), *counters(500))
    gaps = logp.topk(2).values
    clear = gaps[:, 0] - gaps[:, 1] > 0.05  # against noise of temperature 1e-3: odds exp(-50)
    assert int(clear.sum()) > 400
    assert torch.equal(drawn[clear], logp.argmax(-1)[clear])


@pytest.mark.parametrize("temperature", [1e-8, 1e-30, 1e-39, 1e-60])
def test_the_smallest_temperatures_are_greedy(temperature: float) -> None:
    """They are accepted as sampling settings, so they must not overflow into nonsense."""
    assert Sampling(temperature=temperature).temperature == temperature
    logp = rows_of(PROBS)
    drawn = sampling.draw(logp, filters(temperature=temperature), *counters(1))
    assert drawn.tolist() == [1], f"token {drawn.tolist()} of probabilities {PROBS}"


SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 3.0},
    {"top_k": 3},
    {"top_p": 0.8},
    {"min_p": 0.3},
    {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "min_p": 0.1},
]
COUNTERS = {
    "positions": counters(DRAWS, seed=12),
    "seeds": (torch.arange(DRAWS), torch.full((DRAWS,), 5)),
    "far seeds": (2**62 - 1 - torch.arange(DRAWS) * 2**32, torch.zeros(DRAWS, dtype=torch.long)),
    "both": (torch.arange(DRAWS), torch.arange(DRAWS)),
}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("counted", COUNTERS)
def test_frequencies_are_those_of_the_filtered_distribution(
    settings: dict[str, float], counted: str
) -> None:
    """Chi-square over 20,000 draws; a sound generator fails one such test in a million."""
    probs = [0.03, 0.3, 0.12, 0.2, 0.05, 0.15, 0.1, 0.05]
    few = filters(1, **settings, vocab_size=8)
    want = torch.softmax(sampling.filtered(rows_of(probs), few), dim=-1)[0]
    many = filters(DRAWS, **settings, vocab_size=8)
    drawn = sampling.draw(rows_of(probs, DRAWS), many, *COUNTERS[counted])
    counts = torch.bincount(drawn, minlength=8)
    p = p_value(counts, want)
    assert p > ODDS, f"p = {p:.1e}: {(counts / DRAWS).tolist()} instead of {want.tolist()}"


def test_successive_draws_are_independent() -> None:
    """Pairs of neighbouring positions fill the sixteen cells evenly; odds one in a million."""
    drawn = sampling.draw(rows_of([0.25] * 4, DRAWS), filters(DRAWS), *counters(DRAWS, seed=4))
    for apart in (1, 2, 64):
        pairs = drawn[:-apart] * 4 + drawn[apart:]
        p = p_value(torch.bincount(pairs, minlength=16), torch.full((16,), 1 / 16))
        assert p > ODDS, f"{apart} apart: p = {p:.1e}"


def test_noise_is_a_function_of_seed_and_position_alone() -> None:
    """Not of the batch, its order, nor of the side, whose vocabulary may be longer."""
    seeds = torch.tensor([0, 1, 2**40 + 7, 2**63 - 1, 1])
    positions = torch.tensor([0, 5, 100_000, 3, 5])
    together = sampling.gumbel(seeds, positions, 97)
    assert torch.isfinite(together).all()
    for i in (3, 0, 4, 2, 1):
        alone = sampling.gumbel(seeds[i : i + 1], positions[i : i + 1], 152_064)
        assert torch.equal(alone[0, :97], together[i])
    assert torch.equal(together[1], together[4])


def test_a_draw_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(5)
    logp = torch.log_softmax(torch.randn(12, 97), dim=-1)
    seeds, positions = torch.arange(12) * 977, torch.arange(12) * 31
    together = sampling.draw(logp, filters(12, top_p=0.9, vocab_size=97), seeds, positions)
    for i in range(12):
        few = filters(1, top_p=0.9, vocab_size=97)
        alone = sampling.draw(logp[i : i + 1], few, seeds[i : i + 1], positions[i : i + 1])
        assert int(alone) == int(together[i])


def test_uniform_never_reaches_its_ends() -> None:
    ends = sampling.uniform(torch.tensor([0, 2**32 - 1]))
    assert 0 < ends[0] < 1e-9 and 1 - 1e-9 < ends[1] < 1


@pytest.mark.parametrize("other", [1, 2**31, 2**32, 2**45 + 1])
def test_different_seeds_draw_differently(other: int) -> None:
    """Sixty-four draws from sixteen equals agree by accident with odds 16**-64."""
    flat = rows_of([1 / 16] * 16, 64)
    many = filters(64, vocab_size=16)
    one = sampling.draw(flat, many, *counters(64, seed=0))
    two = sampling.draw(flat, many, *counters(64, seed=other))
    agree = int((one == two).sum())
    assert agree < 24, f"{agree} of 64 agree"  # expected 4; above 23 with odds 1e-12


# -- coins ----------------------------------------------------------------------------------------


def test_coins_are_fair() -> None:
    """Twenty bins, both sides, over positions and over seeds; odds one in a million each."""
    for name, (seeds, positions) in COUNTERS.items():
        for side in Side:
            coin = sampling.coins(seeds, positions, side)
            assert coin.dtype == torch.float32
            assert 0 <= coin.min() and coin.max() < 1
            bins = torch.bincount((coin * 20).long(), minlength=20)
            p = p_value(bins, torch.full((20,), 1 / 20))
            assert p > ODDS, f"{side.name} over {name}: p = {p:.1e}"


def correlation(one: Tensor, two: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.double(), two.double()]))[0, 1])


BOUND = 5 / math.sqrt(DRAWS)
"""Five standard errors of a correlation of zero: odds 6e-7."""


def test_coins_are_apart_from_each_other_and_from_the_tokens_noise() -> None:
    seeds, positions = COUNTERS["positions"]
    slm, llm = (sampling.coins(seeds, positions, side) for side in Side)
    assert abs(correlation(slm, llm)) < BOUND
    noise = sampling.gumbel(seeds, positions, 5)
    keys = sampling.uniform(sampling.row_keys(seeds, positions))
    for coin in (slm, llm):
        for other in (*noise.T, keys):
            assert abs(correlation(coin, other)) < BOUND


@pytest.mark.parametrize("apart", [1, 2, 3, 2**31, 2**32])
def test_coins_of_different_seeds_are_apart(apart: int) -> None:
    """Whichever sides throw them: the coins of one seed's LLM must not be those of the next
    seed's SLM, or answers with seeds 0, 1, 2, ... are not independent."""
    positions = torch.arange(DRAWS)
    for seed in (0, 1):
        for mine in Side:
            for other in Side:
                one = sampling.coins(torch.full((DRAWS,), seed), positions, mine)
                two = sampling.coins(torch.full((DRAWS,), seed + apart), positions, other)
                r = correlation(one, two)
                assert abs(r) < BOUND, (
                    f"coins of seed {seed} {mine.name} and seed {seed + apart} {other.name} "
                    f"correlate: {r:.3f}"
                )


WIDTH = 20_000
"""Columns of a wide row."""


def wide(rows: int, scale: float, seed: int = 0) -> torch.Tensor:
    """Rounded, so that many tokens are equally likely."""
    logits = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed)) * scale
    return torch.log_softmax((logits * 8).round() / 8, dim=-1)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.6, "top_p": 0.95},
        {"temperature": 1.3, "top_k": 20},
        {"top_k": 40, "top_p": 0.8, "min_p": 0.05},
        {"top_k": 2000, "top_p": 0.9},
        {"min_p": 0.1},
        {"temperature": 0.7},
        {"temperature": 1e-3, "top_p": 0.5},
    ],
)
@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
def test_a_wide_row_is_drawn_from_as_if_it_were_sorted(
    settings: dict[str, float], scale: float
) -> None:
    """40 rows of ties, flat and peaked. Sums are taken in another order, so a token that lies on
    the very edge of top-p might differ; with these seeds none does."""
    logp = wide(40, scale)
    chosen = filters(40, vocab_size=WIDTH, **settings)
    want = sampling.filtered(logp, chosen) + sampling.gumbel(*counters(40), WIDTH)
    assert shortlist.draw(logp, chosen, *counters(40)).tolist() == want.argmax(-1).tolist()


def test_a_short_list_keeps_what_the_filters_keep_or_says_that_it_cannot() -> None:
    logp = torch.cat([wide(20, 5.0), wide(20, 0.5)])
    chosen = filters(40, vocab_size=WIDTH, top_p=0.9)
    values, ids, whole = shortlist.kept(logp, chosen)
    kept = sampling.filtered(logp, chosen)
    assert whole.any() and not whole.all(), "both kinds of rows are here"
    for i in whole.nonzero()[:, 0]:
        listed = {int(t) for t, v in zip(ids[i], values[i], strict=True) if v > -torch.inf}
        assert listed == set((kept[i] > -torch.inf).nonzero()[:, 0].tolist())


def test_a_wide_row_of_mostly_impossible_tokens() -> None:
    logp = torch.full((3, WIDTH), -torch.inf)
    logp[:, :3] = torch.tensor([0.5, 0.3, 0.2]).log()
    drawn = shortlist.draw(logp, filters(3, vocab_size=WIDTH, top_p=0.7), *counters(3))
    assert all(token < 2 for token in drawn.tolist())

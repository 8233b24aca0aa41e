"""A worker's gate against the in-process gate, on the same logits: no vLLM is needed for that."""

from __future__ import annotations

import pytest
import torch

from rstitch.engine import gate
from rstitch.policy import make
from rstitch.types import Sampling, Side
from rstitch.vllm.judge import judge
from rstitch.vllm.report import ENOUGH, WIDTH
from rstitch.vllm.slots import Slots
from tests.vllm.asking import CPU, Turn, assert_alike, judged

POLICIES = (
    make("entropy", tau=0.5),
    make("confidence", threshold=0.3),
    make("margin", bound=0.1),
    make("hysteresis", tau_out=0.5, tau_back=0.4, min_llm=2),
    make("window", tau=0.5, window=3),
    make("random", p=0.5, q=0.5),
    make("slm"),
    make("llm"),
)
GREEDY, HOT = Sampling(seed=5), Sampling(1.3, top_k=40, top_p=0.9, min_p=0.01, seed=11)
VOCAB, PADDED = ENOUGH + 20, ENOUGH + 20 + WIDTH


def logits(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Some rows sharp, some flat."""
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(0.5, 6.0, rows)[:, None]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("columns", [PADDED, VOCAB])
def test_same_proposals_as_in_process(side: Side, columns: int) -> None:
    turns = [
        Turn(policy, sampling, written=position, tops=tops)
        for policy in POLICIES
        for sampling, position, tops in ((GREEDY, 0, 0), (HOT, 4, 3))
        if side in policy.sides()
    ]
    raw = logits(len(turns), columns)
    rows = [turn.row(side) for turn in turns]
    want = gate.read(raw.clone(), rows, side, VOCAB)
    reports = judged(raw, turns, side, VOCAB)
    for turn, row, expected, report in zip(turns, rows, want, reports, strict=True):
        assert_alike(report.proposal(turn.written, side), expected, turn)
        assert report.memory == pytest.approx(row.state.tolist(), abs=1e-6)
        assert report.rows == len(turns)


@pytest.mark.parametrize("copy", [0, 1])
def test_a_token_that_lies_on_a_column_of_the_report_hides_nothing(copy: int) -> None:
    turn = Turn(make("entropy", tau=1.0), GREEDY)
    layout = turn.layout(VOCAB, VOCAB)
    for token in layout.asked[copy * 6 : copy * 6 + 6]:
        raw = torch.zeros(1, VOCAB)
        raw[0, token] = 30.0
        (report,) = judged(raw, [turn], Side.SLM, VOCAB)
        assert report.proposal(0, Side.SLM).token == token


def test_the_stop_id_is_emitted_exactly_where_control_passes() -> None:
    """Flat rows are above tau and leave the SLM, sharp ones stay."""
    turn = Turn(make("entropy", tau=0.5), GREEDY)
    layout = turn.layout(PADDED, VOCAB)
    slots = Slots(2, CPU)
    for slot in range(2):
        slots.put(slot, turn.asked(Side.SLM, layout))
    slots.flush()
    raw = torch.zeros(2, PADDED)
    raw[1, 7] = 50.0
    out = judge(raw, slots, torch.arange(2), torch.tensor([3, 3]), [0, 1])
    assert out.argmax(-1).tolist() == [layout.stop, 7]
    assert layout.stop == VOCAB


def test_memory_goes_on_within_a_turn_and_begins_anew_with_one() -> None:
    """Of a part of a prefill, nothing is remembered."""
    rule = make("hysteresis", tau_out=0.5, tau_back=0.4, min_slm=2)
    turn = Turn(rule, GREEDY)
    layout, slots, where = turn.layout(PADDED, VOCAB), Slots(1, CPU), torch.tensor([0])
    slots.put(0, turn.asked(Side.SLM, layout))
    slots.flush()
    stays = []
    for length in (2, 3, 4, 5):  # the prompt has 3 tokens: the first pass is a part of it
        out = judge(torch.zeros(1, PADDED), slots, where, torch.tensor([length]), [0])
        (token,) = out.argmax(-1).tolist()
        stays.append(layout.read(token, out[0, layout.asked].tolist()).memory[-1])
    assert stays == [1.0, 1.0, 2.0, 0.0]  # two are kept, then it may leave


def test_a_memory_without_bounds_does_not_win_against_the_token() -> None:
    """Limits that were not given are infinite in the state of `steered`."""
    turn = Turn(make("steered", tau=0.5, max_llm_share=0.3), GREEDY)
    raw = torch.zeros(1, PADDED)
    raw[0, 7] = 50.0
    (report,) = judged(raw, [turn], Side.SLM, VOCAB)
    assert report.proposal(0, Side.SLM).token == 7
    before = torch.tensor(turn.policy.initial_state())
    infinite = before.isinf()
    assert infinite.any()
    assert torch.equal(torch.tensor(report.memory)[infinite], before[infinite])


def test_rows_of_others_are_left_alone() -> None:
    turn, slots = Turn(make("slm"), GREEDY), Slots(2, CPU)
    slots.put(0, None)
    slots.put(1, turn.asked(Side.SLM, turn.layout(PADDED, VOCAB)))
    slots.flush()
    raw = logits(2, PADDED)
    out = judge(raw.clone(), slots, torch.arange(2), torch.tensor([3, 3]), [0, 1])
    assert torch.equal(out[0], raw[0])
    assert not torch.equal(out[1], raw[1])
    assert judge(raw, Slots(2, CPU), torch.arange(2), torch.tensor([3, 3]), [0, 1]) is raw


def test_drawn_tokens_are_as_frequent_as_they_are_likely() -> None:
    """4,000 seeds at one position. A chi-square of 9 degrees of freedom is above 27.9 once in 1,000
    tries; the seeds are fixed, so it is so always or never."""
    raw = torch.zeros(1, PADDED)
    raw[0, 10:] = -40.0
    raw[0, :10] = torch.linspace(-1.5, 1.5, 10)
    count = 4000
    turns = [Turn(make("slm"), Sampling(1.3, seed=seed), written=5) for seed in range(count)]
    reports = judged(raw.repeat(count, 1), turns, Side.SLM, VOCAB)
    drawn = torch.tensor([report.proposal(5, Side.SLM).token for report in reports])
    expected = count * torch.softmax(raw[0, :10] / 1.3, dim=-1)
    found = torch.bincount(drawn, minlength=10).float()
    assert found.sum() == count
    assert float(((found - expected) ** 2 / expected).sum()) < 27.9


def test_a_request_that_comes_back_in_the_middle_of_a_turn_tells() -> None:
    """vLLM puts it into a slot anew where it had to make room: what its policy remembered is gone,
    or is another's."""
    turn = Turn(make("window", tau=0.5, window=3), GREEDY)
    layout = turn.layout(PADDED, VOCAB)
    slots, slot = Slots(1, CPU), torch.tensor([0])

    def step(written: int) -> bool:
        ends = torch.tensor([turn.prompt + written])
        (out,) = judge(logits(1, PADDED), slots, slot, ends, [0])
        return layout.read(int(out.argmax()), out[layout.asked].tolist()).forgot

    def put() -> None:
        slots.put(0, turn.asked(Side.SLM, layout))
        slots.flush()

    put()
    assert [step(at) for at in (0, 0, 1, 2)] == [False] * 4  # the prompt in two parts
    put()
    assert [step(at) for at in (3, 4)] == [True, True]
    put()
    assert not step(0)


def test_one_that_remembers_nothing_has_nothing_to_lose() -> None:
    turn = Turn(make("slm"), GREEDY)
    layout = turn.layout(PADDED, VOCAB)
    slots = Slots(1, CPU)
    slots.put(0, turn.asked(Side.SLM, layout))
    slots.flush()
    (out,) = judge(logits(1, PADDED), slots, torch.tensor([0]), torch.tensor([9]), [0])
    found = layout.read(int(out.argmax()), out[layout.asked].tolist())
    assert not found.forgot
    assert found.rows == 1

"""Blocks of steps of fixed shape: the same answers as pass by pass, and what they are for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rstitch.engine.fused.forward import FusedForward
from rstitch.engine.request import Request
from rstitch.engine.runner import Extend
from rstitch.engine.static import blocks as blocks_module
from rstitch.engine.static.blocks import Blocks, _steps
from rstitch.engine.static.lines import Lines
from rstitch.engine.static.step import Asked, Step, serves
from rstitch.policy import make
from rstitch.types import Sampling, Side
from tests import models
from tests.engine.test_laws import POLICIES, SAMPLINGS, ask
from tests.models import EOS, Answer, Numbers, engine, prompt, run
from tests.same import assert_same_answers

SLM, LLM = Side.SLM, Side.LLM
SERVED = ("tau 0.5", "tau 0.65", "slm", "llm", "confidence", "random", "margin", "window")


@pytest.fixture(autouse=True)
def _static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LAYOUT", "static")


def static(steps: int | None = None, **settings: Any) -> Any:
    made = engine(**settings)
    for blocks in made.loop.blocks.values():
        blocks.steps = steps
    return made


def ordinary(**settings: Any) -> Any:
    made = engine(**settings)
    made.loop.blocks.clear()
    return made


class Counted:
    """What an engine's blocks did, and which passes ran outside them."""

    def __init__(self, pair: Any) -> None:
        self.launched, self.chained, self.steps = 0, 0, 0
        self.eager: list[list[int]] = []
        for blocks in pair.loop.blocks.values():
            self._watch(blocks)

    def _watch(self, blocks: Blocks) -> None:
        launch, chain, extend = blocks._launch, blocks._chain, blocks.runner.extend

        def launched(rows: Any, fed: Any, steps: int) -> Any:
            self.launched += 1
            found = launch(rows, fed, steps)
            self.steps += found.steps
            return found

        def chained(*args: Any) -> Any:
            found = chain(*args)
            if found:
                self.chained += 1
                self.steps += found.steps
            return found

        def extended(batch: Any, logits: Any = "last") -> Any:
            self.eager.append([len(item.tokens) for item in batch])
            return extend(batch, logits)

        blocks._launch, blocks._chain = launched, chained  # type: ignore[method-assign]
        blocks.runner.extend = extended  # type: ignore[method-assign]


def passes(answers: list[Answer]) -> list[list[tuple[Side, int, int]]]:
    return [
        [(f.side, f.new_tokens, f.context) for f in answer.finished.forwards] for answer in answers
    ]


@pytest.mark.parametrize(("sampled", "steps"), [("seeded", 1), ("filtered", 3)])
@pytest.mark.parametrize("policy", SERVED)
def test_the_same_answers_as_pass_by_pass(policy: str, sampled: str, steps: int) -> None:
    """Tokens, sides, decisions and signals, and the passes that an answer says it took."""
    settings = {"seeded": Sampling(seed=11), **SAMPLINGS}[sampled]  # coins take the seed too
    for one in [ask(POLICIES[policy], n, sampling=settings) for n in range(2)]:
        want, pair = run(ordinary(), [one]), static(steps)
        count = Counted(pair)
        got = run(pair, [one])
        assert_same_answers(got, want, [one])
        if got[0].steps == want[0].steps:
            assert passes(got) == passes(want)
            for a, b in zip(got[0].proposals, want[0].proposals, strict=True):
                assert a.signals.keys() == b.signals.keys()
                assert a.entropy == pytest.approx(b.entropy, abs=1e-4)
                for name, value in a.signals.items():
                    assert value == pytest.approx(b.signals[name], abs=1e-4)
        assert not count.eager and count.steps >= len(got[0].finished.forwards)


def test_with_fused_projections_too() -> None:
    requests = [ask(POLICIES["tau 0.65"], n, sampling=SAMPLINGS["filtered"]) for n in range(4)]
    pair = static(3)
    for blocks in pair.loop.blocks.values():
        blocks.runner.fuse()
        assert isinstance(blocks.runner.forward, FusedForward)
    for side, blocks in pair.loop.blocks.items():  # an engine finds runners as they are to be
        pair.loop.blocks[side] = Blocks(blocks.runner, side, frozenset({EOS}))
    assert_same_answers(run(pair, requests), run(ordinary(), requests), requests)


@pytest.mark.parametrize("steps", [1, 3, None])
@pytest.mark.parametrize("waiting", ["table", "eager", "fixed:3"])
def test_a_batch_in_blocks_is_the_batch(steps: int | None, waiting: str) -> None:
    requests = [
        ask(POLICIES[name], n, sampling=SAMPLINGS[sampled], max_tokens=12 + 5 * n)
        for n, (name, sampled) in enumerate(
            [
                ("tau 0.65", "greedy"),
                ("tau 0.5", "hot"),
                ("tau 0.75", "filtered"),
                ("tau 0.65", "hot"),
            ]
        )
    ]
    pair = static(steps, waiting=waiting)
    count = Counted(pair)
    got = run(pair, requests)
    assert_same_answers(got, run(ordinary(waiting=waiting), requests), requests)
    assert count.launched > 10


def test_where_all_rows_go_on_the_next_block_is_there_already() -> None:
    """One launch by the host for a whole answer of one side; no step too many but in the last."""
    one = ask(make("llm"), ignore_eos=True, max_tokens=24)
    pair = static(4)
    count = Counted(pair)
    (answer,) = run(pair, [one])
    assert len(answer.tokens) == 24
    assert (count.launched, count.chained, count.steps) == (1, 5, 24)


def test_a_row_that_leaves_rests_and_nothing_is_launched_for_it() -> None:
    """At each hand-off the block ends: no chain, and the row's KV has not moved."""
    policy = make("random", p=1.0, q=1.0)
    pair = static(4)
    count = Counted(pair)
    (answer,) = run(pair, [ask(policy, max_tokens=6, ignore_eos=True)])
    assert [p.keep for p in answer.proposals] == [False, True] * 6
    assert count.chained == 0 and count.launched == 12
    assert passes([answer])[0][:4] == [
        (SLM, len(ask(policy).prompts[SLM]), len(ask(policy).prompts[SLM])),
        (LLM, len(ask(policy).prompts[LLM]), len(ask(policy).prompts[LLM])),
        (SLM, 1, len(ask(policy).prompts[SLM]) + 1),
        (LLM, 1, len(ask(policy).prompts[LLM]) + 1),
    ]


def test_rows_that_stay_go_on_ahead_of_those_that_wait_for_the_llm() -> None:
    """As long as the scheduler lets them wait; whoever has left rests on the device meanwhile."""
    policy = make("random", p=0.05, q=0.5)
    requests = [
        ask(policy, n, sampling=Sampling(seed=n), max_tokens=40, ignore_eos=True) for n in range(8)
    ]
    pair = static(2, waiting="fixed:7", max_wait=1e6)
    count, sizes = Counted(pair), list[tuple[int, int]]()
    chain = pair.loop.blocks[SLM]._chain

    def chained(block: Any, seen: Any, steps: int) -> Any:
        found = chain(block, seen, steps)
        if found:
            sizes.append((len(found.rows), found.lines.rows))
        return found

    pair.loop.blocks[SLM]._chain = chained
    assert_same_answers(run(pair, requests), run(ordinary(waiting="fixed:7"), requests), requests)
    assert any(rows < lines for rows, lines in sizes), sizes
    assert all(blocks_module._bucket(blocks_module.ROWS, n) == lines for n, lines in sizes), sizes
    assert count.chained > count.launched / 2, "what was launched ahead was seldom asked for"


def test_nothing_is_launched_ahead_of_the_side_that_is_due() -> None:
    """Eager, the LLM is due as soon as a row waits for it: a block ahead would be in its way."""
    requests = [ask(POLICIES["tau 0.65"], n, max_tokens=30, ignore_eos=True) for n in range(4)]
    pair = static(1, waiting="eager")
    chain = pair.loop.blocks[SLM]._chain

    def chained(block: Any, *args: Any) -> Any:
        waiting = [row for row in pair.scheduler.active.values() if row.side is LLM]
        assert not waiting and len(block.rows) == len(pair.scheduler.active)
        return chain(block, *args)

    pair.loop.blocks[SLM]._chain = chained
    run(pair, requests)


def test_a_block_began_when_the_one_before_was_over() -> None:
    """The other side's may have been launched in between, and have run first."""
    now, seconds = [0.0], list[float]()
    blocks = blocks_of_slm(pages=32, clock=lambda: now[0])
    rows, fed = fresh(blocks, [ask(make("slm"), ignore_eos=True)])
    blocks.steps = 2
    for at, other in ((10.0, 0.0), (20.0, 16.0)):
        blocks.watch.read = max(blocks.watch.read, other)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lines, "seen", later(now, at))
            passes = list(blocks.read(rows, fed, 0.0, 0.0, lambda *_: True))
        seconds += [one.seconds for one in passes]
        rows[0].tokens += [one.proposals[0].token for one in passes]
        fed = [Extend(fed[0].row, rows[0].tokens[-1:])]
    assert seconds == [5.0, 5.0, 2.0, 2.0]
    first, second = (one.watch for one in static().loop.blocks.values())
    assert first is second, "one device, one watch"


def later(now: list[float], at: float) -> Any:
    """`Lines.seen` that comes back at that time."""
    seen = Lines.seen

    def waits(lines: Lines, steps: int) -> Any:
        now[0] = at
        return seen(lines, steps)

    return waits


class HostReads(TorchDispatchMode):
    """Names the operations that a capture refuses: they read a value, or copy one from the host."""

    FORBIDDEN = (
        "_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique", "is_nonzero",
        "equal.default", "bincount",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = func.__name__.startswith("index.") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if masks or any(word in func.__name__ for word in self.FORBIDDEN):
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("policy", [*SERVED, "hysteresis"])
def test_a_step_reads_nothing_back(policy: str, hot: bool, width: int, fused: bool) -> None:
    """Once it has run: what CUDA would refuse to capture is not in it, for any policy served."""
    rule, runner = POLICIES[policy], models.runner(SLM)
    if fused:
        runner.fuse()
    blocks = Blocks(runner, SLM, frozenset({EOS}))
    lines = Lines(4, 64, 32, torch.device("cpu"))
    lines.rest()
    asked = Asked(rule, len(rule.initial_state()), hot)
    step = Step(blocks.model, lines, width, asked)
    step()
    with HostReads() as reads:
        step()
    assert serves(rule) and not reads.found, reads.found


def test_what_reads_back_is_noticed() -> None:
    x = torch.tensor([1.0, 0.0])
    for read in (lambda: x[x > 0], lambda: float(x.sum()), lambda: torch.tensor([1])):
        with HostReads() as reads:
            read()
        assert reads.found


def test_end_of_text_ends_a_row_in_its_block() -> None:
    requests = [ask(make("slm"), n, max_tokens=200) for n in range(6)]
    got, want = run(static(8), requests), run(ordinary(), requests)
    assert_same_answers(got, want, requests)
    assert any(answer.tokens[-1] == EOS for answer in got), "nobody ended so"


def test_a_stop_string_ends_a_row_whose_block_had_gone_on() -> None:
    """What the block wrote after it is nobody's; an idle row has cached no more than it says."""
    found = {}
    for name, pair in (("static", static(8)), ("ordinary", ordinary())):
        pair.tokenizers = dict.fromkeys(Side, Numbers())
        asked = ask(make("slm"), max_tokens=40, ignore_eos=True, reuse="me")
        (whole,) = run(pair, [asked])
        middle = Numbers.one(whole.tokens[9]).strip()
        (cut,) = run(pair, [replace(asked, stop=(middle,))])
        found[name] = cut.steps
        assert cut.finished.reason == "stop" and len(cut.tokens) <= 10
    assert found["static"] == found["ordinary"]


def test_somebody_new_discards_what_was_launched_ahead() -> None:
    """Its pages may be others' by then; the answer is the same."""
    first, second = (ask(make("slm"), n, ignore_eos=True, max_tokens=20) for n in range(2))
    want = [run(ordinary(), [one])[0] for one in (first, second)]
    pair = static(2)
    ids = [pair.submit(first)]
    events = [event for _ in range(4) for event in pair.step()]
    assert pair.loop.blocks[SLM]._ahead is not None
    ids.append(pair.submit(second))
    events += models.drain(pair)
    assert_same_answers(models.collect(events, ids), want, [first, second])


@pytest.mark.parametrize("kv_memory", [40, 64])
def test_under_pressure_blocks_get_shorter(kv_memory: int) -> None:
    """Pages for later steps are reserved where there are some, never at others' cost."""
    per_page = sum(models.runner(side).token_bytes for side in Side) * models.PAGE
    settings = {"kv_memory": (kv_memory + 1) * per_page / 2**30}
    requests = [ask(make("entropy", tau=0.65), n, max_tokens=60) for n in range(6)]
    got = run(static(8, **settings), requests)
    assert_same_answers(got, run(ordinary(), requests), requests)


@pytest.mark.parametrize("leaves", [False, True])
def test_where_pages_run_out_nobody_loses_one_that_was_written_to(leaves: bool) -> None:
    """By hand: four rows of 6 tokens, pages of 8, steps of 8. There are pages for that block, none
    for the next, which is looked for before rows are told what the block has written."""
    blocks = blocks_of_slm(pages=8)
    taus = (1.0, 1.0, 1.0, 0.0 if leaves else 1.0)
    asked = [ask(make("entropy", tau=tau), ignore_eos=True) for tau in taus]
    alike = [replace(one, prompts=dict.fromkeys(Side, prompt(6, i))) for i, one in enumerate(asked)]
    rows, fed = fresh(blocks, alike)
    blocks.steps, looked = 8, list[int]()
    grow = blocks.kv.grow
    blocks.kv.grow = lambda *args: looked.append(1) or grow(*args)  # type: ignore[method-assign]
    passes = list(blocks.read(rows, fed, 0.0, 0.0, lambda *_: True))
    assert len(looked) == 2 and blocks._ahead is None
    assert [len(one.rows) for one in passes] == [4, *[4 - leaves] * 7]
    blocks.kv.check_integrity()
    assert blocks.kv.length == {0: 13, 1: 13, 2: 13, 3: 6 if leaves else 13}


def blocks_of_slm(pages: int, clock: Any = time.perf_counter) -> Blocks:
    runner = models.runner(SLM)
    runner.bound((pages + 1) * runner.token_bytes * models.PAGE)
    return Blocks(runner, SLM, frozenset({EOS}), clock=clock)


def fresh(blocks: Blocks, requests: list[Request]) -> tuple[list[Any], list[Extend]]:
    """Rows that the SLM has not read, as an engine would have them."""
    rows, fed = [], []
    for number, one in enumerate(requests):
        row = engine().sequence(one, f"r{number}", 0)
        row.rows[SLM] = blocks.runner.open()
        rows.append(row)
        fed.append(Extend(row.rows[SLM], row.feed(SLM, 0, row.length(SLM))))
    return rows, fed


def test_what_does_not_fit_a_step_takes_the_ordinary_path() -> None:
    """Penalties, likeliest tokens to report, rewind, phases, long prompts, kinds mixed."""
    plain = ask(make("entropy", tau=0.65), max_tokens=10)
    wide = {side: prompt(70, int(side)) for side in Side}
    others = [
        replace(plain, sampling=SAMPLINGS["penalised"]),
        replace(plain, top_logprobs=2),
        replace(plain, policy=POLICIES["rewind"]),
        replace(plain, policy=POLICIES["phase"]),
    ]
    for one in others:
        pair = static(2)
        count = Counted(pair)
        assert_same_answers(run(pair, [one]), run(ordinary(), [one]), [one])
        assert count.launched == 0 and count.eager
    pair = static(2)
    count = Counted(pair)
    run(pair, [replace(plain, prompts=wide)])
    assert [70] in count.eager and count.launched


def test_a_policy_of_somebody_else_takes_the_ordinary_path() -> None:
    """Its rule may wait for the host, which no graph can."""

    class Mine(type(POLICIES["tau 0.5"])):  # type: ignore[misc]
        name = "mine"

    assert serves(POLICIES["tau 0.5"]) and not serves(Mine(tau=0.5))
    assert not serves(make("window", tau=0.5, window=100)), "more memory than a line has"


def test_steps_of_a_block() -> None:
    """By hand, a look of 30 us, a step of 1 ms: one at 10 %, two at 1 %, eight if nobody leaves."""
    assert _steps(0.1, 1e-3) == 1
    assert _steps(0.01, 1e-3) == 2
    assert _steps(0.0, 1e-3) == 8
    assert _steps(0.4, 15e-3) == 1
    assert _steps(0.0, 0.0) == 1


def test_step_costs_are_those_of_blocks() -> None:
    """Before rows first wait for each other; nothing is left in the page of anybody."""
    pair = static(2, measure_costs=True)
    count = Counted(pair)
    requests = [ask(POLICIES["tau 0.65"], n) for n in range(3)]
    asked: list[int] = []
    for blocks in pair.loop.blocks.values():
        blocks.seconds = lambda rows: asked.append(rows) or 0.25
    got = run(pair, requests)
    assert sorted(asked) == [1, 1, 5, 5] or len(asked) == 4, asked
    assert_same_answers(got, run(ordinary(), requests), requests)
    real = static(2).loop.blocks[SLM]
    assert real.seconds(1) > 0 and real.seconds(5) > 0
    assert real.kv.pages.used == 0 and count.launched


def test_tables_are_uploaded_as_far_as_rows_have_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand; whoever is no longer among the rows has the page of nobody."""
    lines, sizes = Lines(4, 8, 100, torch.device("cpu")), list[tuple[int, ...]]()
    upload = Lines._upload

    def noted(self: Lines, to: torch.Tensor, rows: Any) -> None:
        sizes.append(tuple(to.shape))
        upload(self, to, rows)

    monkeypatch.setattr(Lines, "_upload", noted)
    for tables in ([[1, 2, 3], [4]], [[1, 2, 3], [4]], [[5, 6], [], [7]], [[8]], []):
        lines.lay(tables)
        wanted = [0 if not table else table[0] for table in tables] + [0] * (4 - len(tables))
        assert lines.table[:, 0].tolist() == wanted
        for row, table in enumerate(tables):
            assert lines.table[row, : len(table)].tolist() == table
    assert sizes == [(2, 3), (3, 2), (1, 1)]


def test_lines_go_when_the_memory_moves() -> None:
    """Their tables name pages that may be there no more."""
    blocks = blocks_of_slm(pages=9)
    lines = blocks._lines_for(2)
    assert blocks._lines_for(2) is lines
    blocks._step(lines, 1, Asked(POLICIES["tau 0.5"], 1, False))
    blocks.runner.bound(5 * blocks.runner.token_bytes * models.PAGE)
    assert blocks._lines_for(2) is not lines and len(blocks.graphs) == 0


def test_a_padded_step_is_not_larger_than_what_reading_weights_covers() -> None:
    """Eight rows of which one catches up over 40 tokens: 47 in a ragged pass, 512 in a step."""
    blocks = blocks_of_slm(pages=400)
    asked = [ask(make("slm"), ignore_eos=True, prompts={SLM: prompt(1, n)}) for n in range(7)]
    long = ask(make("slm"), ignore_eos=True, prompts={SLM: prompt(40)})
    assert blocks.serves(*fresh(blocks, [long]))
    blocks = blocks_of_slm(pages=400)
    assert not blocks.serves(*fresh(blocks, [*asked, long]))


def test_sizes_cover_what_an_engine_may_ask() -> None:
    assert blocks_module._bucket(blocks_module.ROWS, 5) == 8
    assert blocks_module._bucket(blocks_module.WIDTHS, 64) == 64
    wide = Request(
        {SLM: prompt(3), LLM: prompt(3)}, make("slm"), Sampling(), max_tokens=3, ignore_eos=True
    )
    assert len(run(static(8), [wide])[0].tokens) == 3

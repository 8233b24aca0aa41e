"""The laws of DESIGN section 4 on a random pair; what "the same" means is in tests/same.py."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from rstitch import sampling
from rstitch.engine.request import Request
from rstitch.policy import Policy, make
from rstitch.types import Sampling, Side
from tests.models import (
    EOS,
    Answer,
    assert_clean,
    collect,
    context,
    drain,
    engine,
    plain_greedy,
    plain_log_probs,
    prompt,
    run,
)
from tests.same import (
    TOLERANCE,
    assert_same,
    assert_same_answers,
    filters_of,
    greedy_margin,
    margin,
    shifted,
)

SLM, LLM = Side.SLM, Side.LLM

POLICIES: dict[str, Policy] = {
    "tau 0.5": make("entropy", tau=0.5),
    "tau 0.65": make("entropy", tau=0.65),
    "tau 0.75": make("entropy", tau=0.75),
    "tau 1": make("entropy", tau=1.0),
    "tau -1": make("entropy", tau=-1),
    "slm": make("slm"),
    "llm": make("llm"),
    "confidence": make("confidence", threshold=0.22),
    "random": make("random", p=0.3, q=0.4),
    "margin": make("margin", bound=0.1),
    "window": make("window", tau=0.65, window=3),
    "hysteresis": make("hysteresis", tau_out=0.7, tau_back=0.6, min_slm=1, min_llm=2),
    "phase": make("phase", tau_think=0.75, tau_answer=0.6),
    "rewind": make("rewind", tau=0.7, epsilon=0.002),
    "rewind all": make("rewind", tau=0.65, epsilon=1.0),
}
HANDING = ("tau 0.65", "confidence", "random", "margin", "window", "hysteresis", "phase", "rewind")
"""Policies whose answers on the random pair pass control often."""
SAMPLINGS = {
    "greedy": Sampling(),
    "hot": Sampling(temperature=1.2, seed=7),
    "filtered": Sampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, seed=2**40 + 3),
    "penalised": Sampling(
        presence_penalty=1.5, frequency_penalty=0.4, logit_bias=((7, 4.0), (EOS, -100.0)), seed=3
    ),
}


def ask(policy: Policy, number: int = 0, **settings: Any) -> Request:
    """Prompts of 2 to 40 tokens, another one on each side."""
    slm, llm = 2 + 7 * (number % 6), 40 - 5 * (number % 7)
    prompts = {SLM: prompt(slm, 2 * number), LLM: prompt(llm, 2 * number + 1)}
    return Request(**{"prompts": prompts, "policy": policy, "max_tokens": 40, **settings})


# -- one side alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("number", range(3))
def test_one_side_alone_is_transformers_greedy(side: Side, number: int) -> None:
    """tau >= 1 and "slm", tau < 0 and "llm": the same as `generate`, and the other side neither
    runs nor needs a prompt."""
    taus = (1.0, 1.7) if side is SLM else (-1e-9, -3.0)
    policies = [*(make("entropy", tau=tau) for tau in taus), make(side.label)]
    requests = [replace(r := ask(p, number), prompts={side: r.prompts[side]}) for p in policies]
    pair = engine()
    answers = run(pair, requests)
    given = requests[0].prompts[side]
    want = plain_greedy(side, given, 40)
    assert_same(
        [answer.tokens for answer in answers],
        [want] * 3,
        lambda _, at: greedy_margin(side, given, want, at),
    )
    for answer in answers:
        assert {p.side for p in answer.proposals} == {p.next_side for p in answer.proposals}
        assert {f.side for f in answer.finished.forwards} == {side}
        assert answer.finished.usage.discards == answer.finished.usage.handoffs == 0
    other = pair.runners[side.other].kv
    assert other.layers == {} and other.length == {}, "the other side ran"


@cache
def written_alone(sampled: str) -> tuple[list[Request], list[Answer]]:
    """Three requests with the same prompt on both sides, and what the SLM alone answers."""
    requests = []
    for number in range(3):
        prompts = dict.fromkeys(Side, prompt(3 + 12 * number, number))
        settings = {"prompts": prompts, "sampling": SAMPLINGS[sampled], "max_tokens": 30}
        requests.append(ask(make("slm"), **settings))
    return requests, run(engine(), requests)


@pytest.mark.parametrize("sampled", SAMPLINGS)
@pytest.mark.parametrize("policy", POLICIES)
def test_one_model_on_both_sides_is_that_model(policy: str, sampled: str) -> None:
    """For every policy, however often control passes: hand-offs change nothing."""
    alone, want = written_alone(sampled)
    got = run(engine(llm=SLM), [replace(r, policy=POLICIES[policy]) for r in alone])
    assert_same(
        [answer.tokens for answer in got],
        [answer.tokens for answer in want],
        lambda i, at: margin(alone[i], want[i], at),
    )
    if policy in HANDING:
        handoffs = [answer.finished.usage.handoffs for answer in got]
        assert sum(handoffs) > 5, f"the test says nothing with {handoffs} hand-offs"


# -- stitching is what Algorithm 1 says -----------------------------------------------------------


def slow_choice(request: Request, logp: torch.Tensor, kept: list[int]) -> int:
    """The token that follows what was kept."""
    scores = shifted(request, logp, kept)
    if request.sampling.temperature == 0:
        return int(scores.argmax())
    counters = torch.tensor([request.sampling.seed]), torch.tensor([len(kept)])
    return int(sampling.draw(scores, filters_of(request, 1), *counters))


def slow_stitch(request: Request) -> list[tuple[int, Side, bool, Side]]:
    """Algorithm 1 in a plain loop, with a full forward pass for every position."""
    tau, position, side = np.float32(request.policy.tau), 0, SLM
    kept: list[int] = []
    steps = []
    while position < request.max_tokens:
        logp = plain_log_probs(side, [*request.prompts[side], *kept])[-1:]
        unsure = np.float32(float(sampling.entropy(logp))) > tau
        token = slow_choice(request, logp, kept)
        keep = side is LLM or not unsure
        next_side = LLM if unsure else SLM
        steps.append((token, side, keep, next_side))
        if keep:
            kept.append(token)
            position += 1
            if token == EOS:
                break
        side = next_side
    return steps


@pytest.mark.parametrize("sampled", ["greedy", "filtered", "penalised"])
@pytest.mark.parametrize("tau", [0.0, 0.5, 0.65])
def test_stitching_is_algorithm_1(tau: float, sampled: str) -> None:
    requests = [
        ask(make("entropy", tau=tau), n, sampling=SAMPLINGS[sampled], max_tokens=25)
        for n in range(3)
    ]
    got = run(engine(), requests)
    assert_same(
        [answer.steps for answer in got],
        [slow_stitch(request) for request in requests],
        lambda i, at: margin(requests[i], got[i], at),
    )


@pytest.mark.parametrize("sampled", ["greedy", "filtered"])
@pytest.mark.parametrize("policy", ["tau 0.75", *HANDING])
def test_catching_up_equals_a_full_recompute(policy: str, sampled: str) -> None:
    """Every kept and discarded proposal has the entropy and log-probability that a plain full
    forward over (prompt + tokens kept before it) gives."""
    requests = [ask(POLICIES[policy], n, sampling=SAMPLINGS[sampled]) for n in range(5)]
    answers = run(engine(), requests)
    seen = {(side, keep): 0 for side in Side for keep in (True, False)}
    for request, answer in zip(requests, answers, strict=True):
        for at, p in enumerate(answer.proposals):
            before = context(answer.proposals[:at])
            full = plain_log_probs(p.side, [*request.prompts[p.side], *before])
            assert p.position == len(before) - p.back
            start = len(request.prompts[p.side]) - 1
            for i, score in enumerate(p.span, start=len(before) - len(p.span)):
                off = abs(score - float(full[start + i][before[i]]))
                assert off < TOLERANCE, f"score of token {i} in {p} off by {off:.1e}"
            logp = full[start + p.position]
            off = abs(p.entropy - float(sampling.entropy(logp[None])))
            assert off < TOLERANCE, f"entropy of {p} off by {off:.1e}"
            off = abs(p.logprob - float(logp[p.token]))
            assert off < TOLERANCE, f"log-probability of {p} off by {off:.1e}"
            if "max_prob" in p.signals:
                assert p.signals["max_prob"] == pytest.approx(float(logp.max().exp()), abs=1e-4)
            if "margin" in p.signals:
                first, second = logp.topk(2).values.exp().tolist()
                assert p.signals["margin"] == pytest.approx(first - second, abs=1e-4)
            seen[p.side, p.keep] += 1
    assert seen[LLM, False] == 0
    assert min(seen[SLM, True], seen[SLM, False], seen[LLM, True]) >= 5, seen


def slow_rewind(request: Request) -> list[Any]:
    """docs/algorithm.md, "Rewind", in a plain loop with full forward passes."""
    tau, epsilon = np.float32(request.policy.tau), request.policy.epsilon
    kept: list[int] = []
    steps: list[Any] = []
    side, confirmed = SLM, 0
    while len(kept) < request.max_tokens:
        full = plain_log_probs(side, [*request.prompts[side], *kept])
        start, back = len(request.prompts[side]) - 1, 0
        if side is LLM:
            probs = [float(full[start + i][t].exp()) for i, t in enumerate(kept)]
            bad = [i for i in range(confirmed, len(kept)) if probs[i] < epsilon]
            back = len(kept) - bad[0] if bad else 0
            del kept[len(kept) - back :]
        logp = full[start + len(kept)][None]
        unsure = np.float32(float(sampling.entropy(logp))) > tau
        token = slow_choice(request, logp, kept)
        steps.append((len(kept), token, side, back, LLM if unsure else SLM))
        if side is LLM or not unsure:
            kept.append(token)
            if token == EOS:
                break
        confirmed = len(kept) if side is LLM else confirmed
        side = LLM if unsure else SLM
    return steps


@pytest.mark.parametrize("sampled", ["greedy", "filtered", "penalised"])
@pytest.mark.parametrize(("tau", "epsilon"), [(0.7, 0.002), (0.75, 0.0005), (0.65, 1.0), (0.7, 0)])
def test_rewinding_is_the_loop_of_the_document(tau: float, epsilon: float, sampled: str) -> None:
    policy = make("rewind", tau=tau, epsilon=epsilon)
    requests = [ask(policy, n, sampling=SAMPLINGS[sampled], max_tokens=25) for n in range(4)]
    got = run(engine(), requests)
    assert_same(
        [[(p.position, p.token, p.side, p.back, p.next_side) for p in a.proposals] for a in got],
        [slow_rewind(request) for request in requests],
        lambda i, at: margin(requests[i], got[i], at),
    )
    back = sum(answer.finished.usage.rewound_tokens for answer in got)
    assert (back > 5) == (epsilon > 0), f"{back} tokens taken back"
    for answer in got:
        assert answer.tokens == context(answer.proposals), "keep is not what is in the answer"
        assert back == 0 or answer.finished.usage.rewound_tokens == sum(
            p.taken_back for p in answer.proposals
        )


def test_rewinding_with_epsilon_0_is_the_entropy_rule() -> None:
    for tau in (0.65, 0.75):
        requests = [ask(make("entropy", tau=tau), n) for n in range(4)]
        net = [replace(r, policy=make("rewind", tau=tau, epsilon=0)) for r in requests]
        assert_same_answers(run(engine(), net), run(engine(), requests), requests)


def ends() -> list[tuple[Policy, Side]]:
    taus = ((1.0, SLM), (3.0, SLM), (-1e-9, LLM))
    one = [(make(name, tau=tau), side) for name in ("rewind", "window") for tau, side in taus]
    two = [(make("phase", tau_think=tau, tau_answer=tau), side) for tau, side in taus]
    stay = [(make("hysteresis", tau_out=t, tau_back=t, min_slm=3), side) for t, side in taus]
    return [*one, *two, *stay]


@pytest.mark.parametrize(("policy", "side"), ends(), ids=str)
def test_the_ends_of_other_rules_are_one_side_alone(policy: Policy, side: Side) -> None:
    """Without the other side's prompt: it cannot have run."""
    alone = [
        replace(r := ask(make(side.label), n), prompts={side: r.prompts[side]}) for n in (0, 1)
    ]
    other = [replace(request, policy=policy) for request in alone]
    assert_same_answers(run(engine(), other), run(engine(), alone), alone)


def test_hysteresis_without_a_stay_is_the_entropy_rule() -> None:
    requests = [ask(make("entropy", tau=0.65), n) for n in range(4)]
    same = [replace(r, policy=make("hysteresis", tau_out=0.65, tau_back=0.65)) for r in requests]
    assert_same_answers(run(engine(), same), run(engine(), requests), requests)


def test_recorded_decisions_follow_from_recorded_signals() -> None:
    """Entropies and thresholds round-trip: the rule applied to what was recorded, in Python floats,
    gives every decision."""
    for name in ("tau 0.5", "tau 0.65", "tau 0.75"):
        policy = POLICIES[name]
        for answer in run(engine(), [ask(policy, n, max_tokens=30) for n in range(4)]):
            for p in answer.proposals:
                unsure = p.entropy > float(np.float32(policy.tau))
                assert p.next_side is (LLM if unsure else SLM), p
                assert p.keep is (p.side is LLM or not unsure), p


# -- company, seeds -------------------------------------------------------------------------------


def company() -> list[Request]:
    """Sixteen requests that differ in prompts, lengths, policies, taus and sampling. Greedy ones
    with a random policy take their coins from the seed too."""
    names = ["random", "tau 0.65", "confidence", "llm", "tau 0.5", "slm", "tau 0.75", "tau -1"]
    names += ["rewind", "window", "margin", "hysteresis", "rewind", "phase", "rewind all", "window"]
    kinds = [Sampling(seed=5), Sampling(0.7, seed=1), Sampling(1.0, top_k=5, seed=2), Sampling()]
    kinds += [Sampling(1.5, top_p=0.8, seed=3), Sampling(1.0, min_p=0.1, seed=2), Sampling()]
    kinds += [Sampling(1.0, top_k=50, top_p=0.95, min_p=0.01, seed=2**62)]
    kinds[6] = Sampling(0.5, presence_penalty=1, logit_bias=((9, 3.0),), seed=4)
    kinds[0] = SAMPLINGS["penalised"]
    return [
        ask(POLICIES[name], n, sampling=kinds[n % 8], max_tokens=12 + 4 * (n % 8))
        for n, name in enumerate(names)
    ]


@cache
def one_at_a_time() -> list[Answer]:
    return [run(engine(), [request])[0] for request in company()]


@pytest.mark.parametrize("waiting", ["table", "eager"])
@pytest.mark.parametrize("max_rows", [8, 3])
def test_a_batch_equals_one_at_a_time(max_rows: int, waiting: str) -> None:
    together = run(engine(max_rows=max_rows, waiting=waiting), company())
    assert_same_answers(together, one_at_a_time(), company())


def test_company_changes_no_signal() -> None:
    """Entropies and log-probabilities within 1e-4, up to where answers part at a near tie."""
    for mixed, alone in zip(run(engine(), company()), one_at_a_time(), strict=True):
        for a, b in zip(mixed.proposals, alone.proposals, strict=False):
            if (a.token, a.side) != (b.token, b.side):
                break
            assert abs(a.entropy - b.entropy) < TOLERANCE, (a, b)
            assert abs(a.logprob - b.logprob) < TOLERANCE, (a, b)


def test_the_same_seed_gives_the_same_tokens() -> None:
    """On a fresh engine and on one that has served others."""
    used = engine()
    first = run(used, company())
    for again in (run(used, company()), run(engine(), company())):
        assert_same_answers(again, first, company())


@pytest.mark.parametrize("policy", ["slm", "llm", "tau 0.65", "random"])
def test_different_seeds_give_different_tokens(policy: str) -> None:
    """Forty tokens at about two nats each: two of eight answers are equal with odds below e-70."""
    sampled = [Sampling(temperature=1.0, seed=seed) for seed in range(8)]
    requests = [ask(POLICIES[policy], sampling=s, ignore_eos=True) for s in sampled]
    answers = [tuple(answer.tokens) for answer in run(engine(), requests)]
    assert len(set(answers)) == 8, answers


def test_without_a_seed_every_answer_is_another() -> None:
    """The same odds."""
    requests = [ask(make("llm"), sampling=Sampling(temperature=1.0), ignore_eos=True)] * 4
    assert len({tuple(answer.tokens) for answer in run(engine(), requests)}) == 4


def test_greedy_does_not_depend_on_the_seed() -> None:
    sampled = [Sampling(seed=1), Sampling(seed=2), Sampling()]
    answers = run(engine(), [ask(POLICIES["tau 0.65"], sampling=s) for s in sampled])
    assert answers[0].steps == answers[1].steps == answers[2].steps


def test_a_hand_off_does_not_change_the_draw() -> None:
    """Same noise on both sides: with one model on both, the discarded and the kept token of a
    position are the same token."""
    ids = prompt(12, 3)
    request = ask(
        make("random", p=0.5, q=0.5), prompts={SLM: ids, LLM: ids}, sampling=SAMPLINGS["hot"]
    )
    (answer,) = run(engine(llm=SLM), [request])
    pairs = [
        (a, b) for a, b in zip(answer.proposals, answer.proposals[1:], strict=False) if not a.keep
    ]
    assert len(pairs) > 5
    assert all(a.token == b.token and a.position == b.position for a, b in pairs), pairs


# -- nothing is left behind -----------------------------------------------------------------------


def steps_until(requests: list[Request], count: int) -> tuple[list[str], list[Answer], Any]:
    """Run until that many events have come, cancel everybody, run on to the end."""
    pair = engine(max_rows=3)
    ids = [pair.submit(request) for request in requests]
    seen = [0]

    def stop(_: object) -> None:
        seen[0] += 1
        if seen[0] == count:
            for request in ids:
                pair.cancel(request)

    return ids, collect(drain(pair, stop), ids), pair


def test_cancelling_everybody_after_any_event_leaves_nothing_behind() -> None:
    requests = [replace(company()[n], max_tokens=6) for n in (0, 1, 2, 4, 8, 12)]
    want = run(engine(), requests)
    total = sum(len(answer.proposals) + 1 for answer in want)
    for count in range(1, total + 1, 3):
        _, answers, pair = steps_until(requests, count)
        assert_clean(pair)
        assert pair.idle
        for answer, whole in zip(answers, want, strict=True):
            # The end came before what would have been taken back was: it stays.
            assert answer.decided == whole.decided[: len(answer.steps)]
            if answer.finished.reason != "cancelled":
                assert answer.steps == whole.steps


def test_memory_is_used_again() -> None:
    """Eight rounds on one engine take no more KV memory than the first two."""
    pair = engine()
    sizes = []
    for _ in range(8):
        run(pair, [ask(POLICIES["tau 0.65"], n, max_tokens=6) for n in range(8)])
        sizes.append([one.kv.nbytes for one in pair.runners.values()])
    assert sizes[-1] == sizes[1]

"""Whether a trained pair has the properties that make routing a question (docs/pair.md).

    python -m benchmarks.acceptance [--task order] [--pair DIR --tau TAU] [--quick]

Run before any stitched figure is published, on the weights as shipped. On test, greedy, each model
alone; on dev, at the tau that `benchmarks.tau` has fixed: how many positions above it are harmless,
what a gate with hindsight would save, and what random hand-offs at the same rates reach.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import rstitch
from benchmarks.common import Asked, finish, pair_parser, parsed, progress, say, show_bars
from benchmarks.tau import answers, marks
from benchmarks.veto import Veto
from rstitch.api import Answer, Stitch
from rstitch.engine.runner import Extend
from rstitch.evals.grade import is_right
from rstitch.evals.statistics import paired_difference, ratio_interval
from rstitch.pairs.recipe.problem import Posed
from rstitch.pairs.recipe.splits import spread
from rstitch.policy import make
from rstitch.types import Side


def percent(flags: Sequence[bool]) -> float:
    return 100 * sum(flags) / len(flags)


def step_seconds(stitch: Stitch, side: Side, rounds: int = 60) -> float:
    """Median seconds of a bare one-row decode step at 120 cached tokens."""
    runner = stitch.models[side].runner
    row = runner.open()
    runner.extend([Extend(row, list(range(20, 140)))])
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        runner.extend([Extend(row, [20])])
        times.append(time.perf_counter() - started)
        runner.truncate(row, 120)
    runner.free(row)
    return sorted(times)[rounds // 2]


def step_ratio(stitch: Stitch) -> dict[str, float]:
    """LLM step over SLM step, interleaved, with as many threads as the engine finds best."""
    best = {side: float("inf") for side in Side}
    for _ in range(4):
        for side in Side:
            best[side] = min(best[side], step_seconds(stitch, side))
    slm, llm = best[Side.SLM], best[Side.LLM]
    return {"slm_step_ms": slm * 1e3, "llm_step_ms": llm * 1e3, "ratio": llm / slm}


def alone(stitch: Stitch, chosen: Sequence[Posed]) -> dict[str, float]:
    """Accuracy of each model by itself, and trace lengths where both are right."""
    progress(f"each model alone on {len(chosen)} test problems")
    llm, slm = (answers(stitch, chosen, make(name)) for name in ("llm", "slm"))
    right_llm, right_slm = marks(chosen, llm), marks(chosen, slm)
    both = [i for i in range(len(chosen)) if right_llm[i] and right_slm[i]]
    slm_length = sum(slm[i].usage.tokens for i in both)
    longer = sum(llm[i].usage.tokens for i in both) / max(slm_length, 1)
    return {
        "llm_accuracy": percent(right_llm),
        "slm_accuracy": percent(right_slm),
        "length_ratio": longer,
        "llm_tokens": sum(a.usage.tokens for a in llm) / len(llm),
        "slm_tokens": sum(a.usage.tokens for a in slm) / len(slm),
    }


@dataclass(slots=True)
class Hindsight:
    """One problem: the hand-offs of the plain gate, how many were harmless, and a veto set."""

    discards: int
    harmless: int
    positions: tuple[int, ...]


def hindsight(stitch: Stitch, problem: Posed, tau: float) -> Hindsight:
    """Try each hand-off of a problem without it, first to last, and keep the harmless vetoes.

    A hand-off is harmless if the final answer stays what it was when the SLM's token is kept there.
    """
    plain = stitch.generate(problem.question, policy=Veto(tau, ()), max_tokens=400)
    wanted = is_right(plain.text, problem.answer)
    final = plain.text.rsplit("boxed", 1)[-1]
    first = [p.position for p in plain.trace.proposals if not p.keep]
    trials = [Veto(tau, (at,)) for at in first]
    tried = [stitch.stream(problem.question, policy=t, max_tokens=400) for t in trials]
    same = [t.result().text.rsplit("boxed", 1)[-1] == final for t in tried]
    vetoes, at = [], -1
    current = plain
    while True:
        later = [p.position for p in current.trace.proposals if not p.keep and p.position > at]
        if not later:
            return Hindsight(len(first), sum(same), tuple(vetoes))
        at = later[0]
        trial = stitch.generate(problem.question, policy=Veto(tau, (*vetoes, at)), max_tokens=400)
        if is_right(trial.text, problem.answer) == wanted or not wanted:
            vetoes.append(at)
            current = trial


def rates(given: Sequence[Answer]) -> tuple[float, float]:
    """The gate's own hand-off probabilities: p per SLM proposal, q per LLM token."""
    all_proposals = [p for a in given for p in a.trace.proposals]
    slm = [p for p in all_proposals if p.side is Side.SLM]
    llm = [p for p in all_proposals if p.side is Side.LLM]
    p = sum(x.next_side is Side.LLM for x in slm) / len(slm)
    return p, sum(x.next_side is Side.SLM for x in llm) / max(len(llm), 1)


def veto_gain(
    stitch: Stitch, chosen: Sequence[Posed], tau: float, found: Sequence[Hindsight]
) -> dict[str, float]:
    """Seconds of the plain gate over those of the gate with hindsight, interleaved."""
    plain_s, veto_s, plain_right, veto_right = [], [], [], []
    for problem, hind in zip(chosen, found, strict=True):
        for policy, seconds, right in (
            (Veto(tau, ()), plain_s, plain_right),
            (Veto(tau, hind.positions), veto_s, veto_right),
        ):
            answer = stitch.generate(problem.question, policy=policy, max_tokens=400)
            seconds.append(answer.usage.seconds)
            right.append(is_right(answer.text, problem.answer))
    gain, low, high = ratio_interval(plain_s, veto_s)
    return {
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
        "accuracy_plain": percent(plain_right),
        "accuracy_veto": percent(veto_right),
    }


def main() -> None:
    options = pair_parser(__doc__, "few problems")
    options.add_argument("--tau", type=float, help="fixed on dev; the one it ships with if absent")
    args = parsed(options)
    asked = Asked.by(args)
    tau = asked.tau if args.tau is None else args.tau
    if tau is None:
        options.error("--pair needs --tau, as benchmarks.tau has fixed it")
    n_test, n_dev, n_veto = (48, 48, 6) if args.quick else (4000, 600, 120)
    stitch = rstitch.load(**asked.models, tau=tau)
    dev = spread(asked.subject.problems("dev"), n_dev)
    steps = step_ratio(stitch)
    say(f"step: {steps}")
    test = alone(stitch, spread(asked.subject.problems("test"), n_test))
    say(f"test: {test}")
    gate = answers(stitch, dev, make("entropy", tau=tau))
    p, q = rates(gate)
    random = answers(stitch, dev, make("random", p=p, q=q))
    worse, _ = paired_difference(marks(dev, gate), marks(dev, random))
    share = [
        sum(a.usage.llm_tokens for a in g) / sum(a.usage.tokens for a in g) for g in (gate, random)
    ]
    say(f"tau {tau}; gate p {p:.4f} q {q:.4f}; shares {share}; random worse by {worse:.1f}")
    probe = spread(dev, n_veto)
    found = []
    for i, problem in enumerate(probe):
        found.append(hindsight(stitch, problem, tau))
        progress(f"hindsight {i + 1}/{len(probe)}")
    harmless = sum(h.harmless for h in found) / max(sum(h.discards for h in found), 1)
    gain = veto_gain(stitch, probe, tau, found)
    say(f"harmless {harmless:.3f}; veto {gain}")
    bars = {
        "llm_at_least_95": test["llm_accuracy"] >= 95,
        "slm_40_to_75": 40 <= test["slm_accuracy"] <= 75,
        "length_1.8_to_2.6": 1.8 <= test["length_ratio"] <= 2.6,
        "llm_step_3_slm_steps": steps["ratio"] >= 3,
        "harmless_40_percent": harmless >= 0.40,
        "veto_1.4x": gain["gain"] >= 1.4,
        "random_10_points_worse": worse >= 10,
    }
    show_bars(bars)
    details = {
        "bars": bars,
        "test": test,
        "n": {"test": n_test, "dev": n_dev, "hindsight": n_veto},
        "steps": steps,
        "tau": tau,
        "gate": {"p": p, "q": q, "share": share[0], "random_share": share[1]},
        "random_points_worse": worse,
        "harmless": harmless,
        "veto": gain,
    }
    met = sum(bars.values()) / len(bars)
    finish(asked.name("acceptance"), met, 1.0, details, args.save, asked.pair)


if __name__ == "__main__":
    main()

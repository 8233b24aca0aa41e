"""The built-in pair: how much faster stitched is than the LLM alone, at which accuracy.

    python -m benchmarks.pair [--quick] [--save]

One request at a time on the test split, methods interleaved per problem; the engine chooses its
threads for each pass, or where it is compiled the better of 1 and 2; the ceiling is the sum of
the bare forward passes that an answer contains, the rival of the LLM alone is transformers'
`generate` at its best setting. Accuracy is measured over the whole split, many in flight, and over
as many problems of a fresh draw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import rstitch
from benchmarks.bare import bare_seconds
from benchmarks.common import (
    finish,
    parsed,
    parser,
    progress,
    rotated,
    say,
    show_bars,
)
from benchmarks.rival import COMPILED, EAGER, Rival, Setting
from rstitch.api import Answer, Stitch
from rstitch.evals.grade import is_right
from rstitch.evals.statistics import paired_difference, ratio_interval
from rstitch.pairs.recipe.problem import Problem
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make
from rstitch.trace import Trace
from rstitch.types import Side

MAX_TOKENS = 400
GOAL = 4.1
GOAL_RATE = 2.0
WARM_COMPILED = 30
"""Problems; a compilation in the measured part made version 3's first compiled figure worthless."""
FRESH = 1000
"""Added to the seed for a second test set that nobody has looked at."""


@dataclass(slots=True)
class Method:
    """One way to answer, and what each problem took."""

    policy: Any
    threads: int | None = None
    """None: what the engine finds fastest for each pass."""
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    llm_tokens: list[int] = field(default_factory=list)
    handoffs: list[int] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


def run(stitch: Stitch, method: Method, problem: Problem, policy: Any | None = None) -> Answer:
    if method.threads is not None:
        torch.set_num_threads(method.threads)
    return stitch.generate(
        problem.question, policy=method.policy if policy is None else policy, max_tokens=MAX_TOKENS
    )


def measure(stitch: Stitch, methods: dict[str, Method], chosen: Sequence[Problem]) -> None:
    """Every method on every problem in turn; the order rotates."""
    for name in methods:  # compiled, every number of tokens and threads compiles on first use
        for problem in chosen[: WARM_COMPILED if stitch.engine.config.compile else 1]:
            run(stitch, methods[name], problem)
    for i, problem in enumerate(chosen):
        for name in rotated(methods, i):
            method = methods[name]
            started = time.perf_counter()
            answer = run(stitch, method, problem)
            method.seconds.append(time.perf_counter() - started)
            method.tokens.append(answer.usage.tokens)
            method.llm_tokens.append(answer.usage.llm_tokens)
            method.handoffs.append(answer.usage.handoffs)
            method.right.append(is_right(answer.text, problem.answer))
            method.bare.append(bare(stitch, answer.trace))
        if (i + 1) % 20 == 0:
            progress(f"{i + 1}/{len(chosen)} problems")


def bare(stitch: Stitch, trace: Trace) -> float:
    """Seconds of the bare forward passes that the answer contains."""
    runners = {side: loaded.runner for side, loaded in stitch.models.items()}
    kept = [p.token for p in trace.proposals if p.keep]
    return bare_seconds(runners, trace.prompts, kept, trace.forwards)


def best_threads(stitch: Stitch, policy: Any, chosen: Sequence[Problem]) -> int | None:
    """1 or 2, by total time over a few problems, interleaved; eager, the engine chooses itself."""
    if not stitch.engine.config.compile:
        return None
    seconds = {1: 0.0, 2: 0.0}
    for problem in chosen:
        for threads in seconds:
            started = time.perf_counter()
            run(stitch, Method(policy, threads), problem)
            seconds[threads] += time.perf_counter() - started
    return min(seconds, key=lambda threads: seconds[threads])


def best_setting(
    rival: Rival, prompts: Sequence[tuple[int, ...]], settings: Sequence[Setting]
) -> Setting:
    """The fastest way to call `generate`, each warmed up first."""
    seconds: dict[Setting, float] = {}
    for setting in settings:
        rival.seconds(prompts[0], setting, MAX_TOKENS)
        seconds[setting] = sum(rival.seconds(p, setting, MAX_TOKENS)[0] for p in prompts)
        progress(f"generate, {setting}: {seconds[setting]:.2f} s")
    return min(seconds, key=lambda s: seconds[s])


def versus_generate(
    stitch: Stitch, rival: Rival, chosen: Sequence[Problem], settings: Sequence[Setting]
) -> dict[str, Any]:
    """The LLM alone in this engine against transformers' `generate`, interleaved, per token."""
    llm = make("llm")
    prompts = [stitch.prompts(p.question, policy=llm)[Side.LLM] for p in chosen]
    before = torch.get_num_threads()
    setting = best_setting(rival, prompts[:2], settings)
    ours = Method(llm, best_threads(stitch, llm, chosen[:2]))
    seconds, theirs = [], []
    for problem, prompt in zip(chosen, prompts, strict=True):
        torch.set_num_threads(before)
        started = time.perf_counter()
        answer = run(stitch, ours, problem)
        seconds.append((time.perf_counter() - started) / answer.usage.tokens)
        took, tokens = rival.seconds(prompt, setting, MAX_TOKENS)
        theirs.append(took / tokens)
    torch.set_num_threads(before)
    ratio, low, high = ratio_interval(theirs, seconds)
    return {
        "engine_ms_per_token": 1e3 * sum(seconds) / len(seconds),
        "generate_ms_per_token": 1e3 * sum(theirs) / len(theirs),
        "ratio": ratio,
        "interval": [low, high],
        "generate_setting": str(setting),
        "engine_threads": ours.threads,
        "problems": len(chosen),
    }


def accuracy(stitch: Stitch, chosen: Sequence[Problem], tau: float) -> dict[str, Any]:
    """Each method over all of them, batched, and the paired comparison that decides."""
    marks: dict[str, list[bool]] = {}
    for name, policy in (("llm", make("llm")), ("slm", make("slm")), ("stitched", None)):
        progress(f"accuracy of {name} on {len(chosen)} problems")
        given = stitch.batch(
            [p.question for p in chosen],
            policy=policy,
            tau=tau if policy is None else None,
            max_tokens=MAX_TOKENS,
        )
        marks[name] = [is_right(a.text, p.answer) for a, p in zip(given, chosen, strict=True)]
    mean, low = paired_difference(marks["stitched"], marks["llm"])
    return {
        **{name: 100 * sum(flags) / len(flags) for name, flags in marks.items()},
        "difference_points": mean,
        "lower_end": low,
        "not_inferior": low > -1.0,
        "problems": len(chosen),
    }


def split(methods: dict[str, Method]) -> dict[str, Any]:
    """The speed-up of stitched over the LLM alone, and its two factors."""
    llm, stitched = methods["llm"], methods["stitched"]
    total, low, high = ratio_interval(llm.seconds, stitched.seconds)
    fewer = sum(llm.tokens) / sum(stitched.tokens)
    slower = sum(b > a for a, b in zip(llm.seconds, stitched.seconds, strict=True))
    return {
        "speed_up": total,
        "interval": [low, high],
        "fewer_tokens": fewer,
        "tokens_per_second": total / fewer,
        "share_of_problems_slower": slower / len(llm.seconds),
    }


def show(title: str, methods: dict[str, Method], gain: dict[str, Any]) -> None:
    say(f"\n{title}: {len(methods['llm'].seconds)} problems, one at a time")
    say(
        f"{'':10}{'right':>7}{'tokens':>8}{'LLM':>6}{'hand-offs':>10}{'ms':>8}{'ms/tok':>8}{'/bare':>7}"
    )
    for name, m in methods.items():
        n = len(m.seconds)
        over = f"{sum(m.seconds) / sum(m.bare):7.2f}"
        say(
            f"{name:10}{100 * sum(m.right) / n:6.1f}%{sum(m.tokens) / n:8.1f}"
            f"{sum(m.llm_tokens) / sum(m.tokens):6.0%}{sum(m.handoffs) / n:10.1f}"
            f"{1e3 * sum(m.seconds) / n:8.1f}{1e3 * sum(m.seconds) / sum(m.tokens):8.2f}{over}"
        )
    say(
        f"speed-up {gain['speed_up']:.2f}x {[round(x, 2) for x in gain['interval']]} = "
        f"{gain['fewer_tokens']:.2f}x fewer tokens x {gain['tokens_per_second']:.2f}x tokens/s; "
        f"slower on {gain['share_of_problems_slower']:.1%} of problems"
    )


def session(stitch: Stitch, chosen: Sequence[Problem], title: str) -> dict[str, Any]:
    """Speed of the three methods, each at its best thread count."""
    policies: dict[str, Callable[[], Any]] = {
        "llm": lambda: make("llm"),
        "slm": lambda: make("slm"),
        "stitched": lambda: make("entropy", tau=stitch.tau),
    }
    methods = {
        name: Method(policy(), best_threads(stitch, policy(), chosen[:3]))
        for name, policy in policies.items()
    }
    measure(stitch, methods, chosen)
    gain = split(methods)
    show(title, methods, gain)
    per_method = {
        name: {
            "seconds": sum(m.seconds),
            "tokens": sum(m.tokens),
            "llm_tokens": sum(m.llm_tokens),
            "handoffs": sum(m.handoffs),
            "right": sum(m.right),
            "over_bare_forwards": sum(m.seconds) / sum(m.bare),
            "threads": m.threads,
        }
        for name, m in methods.items()
    }
    return {**gain, "problems": len(chosen), "methods": per_method}


def main() -> None:
    options = parser(__doc__, "under 50 seconds, wide intervals")
    options.add_argument(
        "--fresh-seed", type=int, default=0, metavar="N", help="a new test set, unseen in training"
    )
    args = parsed(options)
    n_speed, n_rival, n_accuracy = (8, 3, 64) if args.quick else (150, 30, 4000)
    test = problems("test", seed=args.fresh_seed)
    some, few, test = spread(test, n_speed), spread(test, n_rival), spread(test, n_accuracy)
    one = rstitch.load(max_rows=1)
    details: dict[str, Any] = {"tau": one.tau, "fresh_seed": args.fresh_seed}
    details["eager"] = session(one, some, "eager")
    rival = Rival(one)
    eager_settings = EAGER[:1] + EAGER[4:5] if args.quick else EAGER
    details["eager"]["llm_vs_generate"] = versus_generate(one, rival, few, eager_settings)
    say(f"LLM alone against transformers' generate, eager: {details['eager']['llm_vs_generate']}")
    if not args.quick:
        progress("compiling")
        cores = torch.get_num_threads()
        fast = rstitch.load(max_rows=1, compile=True)
        for problem in few:
            fast.generate(problem.question)
        details["compiled"] = session(fast, some, "compiled")
        details["compiled"]["llm_vs_generate"] = versus_generate(fast, rival, few, COMPILED)
        say(f"the same, compiled: {details['compiled']['llm_vs_generate']}")
        torch.set_num_threads(cores)
    many = rstitch.load(max_rows=64)
    details["accuracy"] = accuracy(many, test, many.tau)
    say(f"accuracy: {details['accuracy']}")
    if not args.quick:  # the test split was seen by earlier versions of the pair; this was not
        fresh = spread(problems("test", seed=args.fresh_seed + FRESH), n_accuracy)
        details["accuracy_fresh"] = accuracy(many, fresh, many.tau)
        say(f"accuracy on a fresh draw: {details['accuracy_fresh']}")
    eager = details["eager"]
    details["bars"] = {
        "speed_up_4.1x": eager["speed_up"] >= GOAL,
        "tokens_per_second_2.0x": eager["tokens_per_second"] >= GOAL_RATE,
        "accuracy_not_inferior": details["accuracy"]["not_inferior"],
        "llm_at_least_generate_eager": eager["llm_vs_generate"]["ratio"] >= 1.0,
    }
    if "compiled" in details:
        ratio = details["compiled"]["llm_vs_generate"]["ratio"]
        details["bars"]["llm_at_least_generate_compiled"] = ratio >= 1.0
    show_bars(details["bars"])
    finish("pair", eager["speed_up"], GOAL, details, args.save)


if __name__ == "__main__":
    main()

"""GGUF pairs on llama.cpp: how fast stitched is, against what people would use instead.

    python -m benchmarks.llamacpp [--quick] [--save]

The built-in pair in float32, test split, one request at a time, interleaved per problem: the LLM
alone and stitched through our runner, the LLM alone through llama-cpp-python's own `Llama` (the
rival), and stitched on torch. Beside an answer stand the `llama_decode` calls that it contains, as
they were and replayed (the ceiling). Then sixteen in flight, accuracy of quantised weights and KV
with the rate of answers that differ, and a pair of Qwen2.5-0.5B's and -1.5B's shapes, Q4_K_M,
random weights.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import rstitch
from benchmarks import random_gguf
from benchmarks.common import finish, parsed, parser, progress, rotated, say, show_bars
from benchmarks.decodes import decodes_of
from benchmarks.inflight import Loop, Run
from benchmarks.overhead import LLM_RUN, SLM_RUN, write
from rstitch.api import Stitch
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.evals.grade import is_right
from rstitch.evals.statistics import ratio_interval
from rstitch.llamacpp.cache import cached
from rstitch.llamacpp.header import read
from rstitch.pairs import BUILTIN
from rstitch.pairs.recipe.problem import Problem
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make
from rstitch.types import Sampling, Side

MAX_TOKENS = 400
OVER_LLM, OVER_TORCH, OVER_BARE, OVER_RIVAL, IN_FLIGHT, REAL = 4.1, 2.5, 1.3, 1.05, 2.5, 1.03
VARIANTS: dict[str, dict[str, Any]] = {
    "F32, KV F32": {"kind": "f32"},
    "F32, KV F16": {"kind": "f32", "kv_type": "f16", "flash_attention": "on"},
    "Q8_0, KV F32": {"kind": "q8_0", "kv_type": "f32"},
    "Q8_0, KV F16": {"kind": "q8_0"},
    "Q8_0, KV Q8_0": {"kind": "q8_0", "kv_type": "q8_0"},
    "Q4_K_M, KV F16": {"kind": "q4_k_m"},
}


def load(kind: str = "f32", **settings: Any) -> Stitch:
    """The built-in pair from GGUF files of that type."""
    names = {side.label: str(cached(str(BUILTIN / side.label), kind)) for side in Side}
    card = rstitch.pairs.preset("builtin")
    return rstitch.load(**names, tau=card.tau, **settings)


class Rival:
    """The LLM of the pair by llama-cpp-python alone, with the same KV and threads."""

    def __init__(self, path: str, threads: int) -> None:
        import llama_cpp

        self.model = llama_cpp.Llama(
            model_path=path,
            n_ctx=1024,
            n_threads=threads,
            n_threads_batch=threads,
            type_k=0,
            type_v=0,
            verbose=False,
        )

    def generate(self, prompt: Sequence[int]) -> int:
        """Tokens alone, in its generator."""
        self.model.reset()
        ends = self.model.token_eos()
        found = itertools.islice(self.model.generate(list(prompt), temp=0.0), MAX_TOKENS)
        return 1 + sum(1 for _ in itertools.takewhile(lambda t: t != ends, found))

    def complete(self, prompt: Sequence[int]) -> int:
        """Text, as its users get it."""
        self.model.reset()
        done = self.model.create_completion(list(prompt), max_tokens=MAX_TOKENS, temperature=0.0)
        return 1 + int(done["usage"]["completion_tokens"])


@dataclass(slots=True)
class Method:
    """One way to answer, and what each problem took."""

    run: Callable[[Problem], int]
    """Returns the tokens of the answer, its end included."""
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def per_token(self) -> float:
        return sum(self.seconds) / sum(self.tokens)


def answers(stitch: Stitch, policy: Policy) -> Callable[[Problem], int]:
    def run(problem: Problem) -> int:
        answer = stitch.generate(problem.question, policy=policy, max_tokens=MAX_TOKENS)
        return answer.usage.tokens

    return run


def interleave(methods: Mapping[str, Method], chosen: Sequence[Problem]) -> None:
    """Every method on every problem in turn, the order rotating; each warms up first."""
    for method in methods.values():
        method.run(chosen[0])
    for i, problem in enumerate(chosen):
        for name in rotated(methods, i):
            started = time.perf_counter()
            tokens = methods[name].run(problem)
            methods[name].seconds.append(time.perf_counter() - started)
            methods[name].tokens.append(tokens)
        if (i + 1) % 20 == 0:
            progress(f"{i + 1}/{len(chosen)} problems")


def set_threads(stitch: Stitch, threads: int) -> None:
    for model in stitch.models.values():
        model.runner.set_threads(threads)


def best_threads(stitch: Stitch, chosen: Sequence[Problem]) -> int:
    """1 or 2: what serves the LLM alone best, interleaved; everybody gets it."""
    run, seconds = answers(stitch, make("llm")), {1: 0.0, 2: 0.0}
    for problem in chosen:
        for threads in seconds:
            set_threads(stitch, threads)
            started = time.perf_counter()
            run(problem)
            seconds[threads] += time.perf_counter() - started
    return min(seconds, key=lambda threads: seconds[threads])


def one_at_a_time(pair: Stitch, chosen: Sequence[Problem], threads: int) -> dict[str, Any]:
    """Speed of all methods, and the bars that are ratios of them."""
    set_threads(pair, threads)
    on_torch = rstitch.load(max_rows=1)
    stitched, llm = make("entropy", tau=pair.tau), make("llm")
    rival = Rival(pair.models[Side.LLM].source, threads)
    prompts = {p.question: pair.prompts(p.question, policy=llm)[Side.LLM] for p in chosen}
    methods = {
        "LLM alone": Method(answers(pair, llm)),
        "stitched": Method(answers(pair, stitched)),
        "SLM alone": Method(answers(pair, make("slm"))),
        "LLM, Llama.generate": Method(lambda p: rival.generate(prompts[p.question])),
        "LLM, Llama.create_completion": Method(lambda p: rival.complete(prompts[p.question])),
        "stitched on torch": Method(answers(on_torch, stitched)),
    }
    interleave(methods, chosen)
    say(f"\n{len(chosen)} problems, one at a time, {threads} threads")
    say(f"{'':30}{'tokens':>8}{'ms':>9}{'ms/token':>10}")
    for name, m in methods.items():
        n = len(m.seconds)
        say(
            f"{name:30}{sum(m.tokens) / n:8.1f}{1e3 * sum(m.seconds) / n:9.2f}"
            f"{1e3 * m.per_token:10.3f}"
        )

    def ratio(slow: str, fast: str) -> dict[str, Any]:
        value, low, high = ratio_interval(methods[slow].seconds, methods[fast].seconds)
        return {"ratio": value, "interval": [low, high]}

    ours = methods["LLM alone"].per_token
    return {
        "problems": len(chosen),
        "threads": threads,
        "over_llm": ratio("LLM alone", "stitched"),
        "over_torch": ratio("stitched on torch", "stitched"),
        "llm_over_generate": ours / methods["LLM, Llama.generate"].per_token,
        "llm_over_completion": ours / methods["LLM, Llama.create_completion"].per_token,
        "methods": {
            name: {"seconds": sum(m.seconds), "tokens": sum(m.tokens)}
            for name, m in methods.items()
        },
    }


def over_decodes(engine: InProcessEngine, requests: Sequence[Request]) -> dict[str, Any]:
    """Time of the engine's steps over that of the decodes that they contain, and of their replay,
    with bootstrap intervals over answers."""
    steps, contained, replayed, usages = list[float](), list[float](), list[float](), []
    with decodes_of(engine.runners) as decodes:
        write(engine, requests[0])
        decodes.replay()
        for request in requests:
            answer = write(engine, request)
            steps.append(sum(answer.steps))
            contained.append(decodes.take())
            replayed.append(decodes.replay())
            usages.append(answer.usage)
    tokens = sum(usage.tokens for usage in usages)
    return {
        "over_contained": list(ratio_interval(steps, contained)),
        "over_replayed": list(ratio_interval(steps, replayed)),
        "seconds": sum(steps),
        "contained_seconds": sum(contained),
        "replayed_seconds": sum(replayed),
        "llm_share": sum(usage.llm_tokens for usage in usages) / tokens,
        "handoffs": sum(usage.handoffs for usage in usages),
        "tokens": tokens,
    }


def builtin_overhead(pair: Stitch, chosen: Sequence[Problem]) -> dict[str, Any]:
    """And the most that stitching could gain here: the LLM's decodes over those of stitched."""
    stitched, llm = make("entropy", tau=pair.tau), make("llm")
    found = {
        name: over_decodes(
            pair.engine,
            [
                Request(pair.prompts(p.question, policy=policy), policy, max_tokens=MAX_TOKENS)
                for p in chosen
            ],
        )
        for name, policy in (("stitched", stitched), ("llm", llm))
    }
    ceiling = found["llm"]["replayed_seconds"] / found["stitched"]["replayed_seconds"]
    return {**found, "ceiling_over_llm": ceiling}


def in_flight(n: int, answers: int, rounds: int, threads: int) -> dict[str, Any]:
    """A closed loop of n answers: stitched over the LLM alone."""
    pairs = {name: load(max_rows=n) for name in ("llm", "stitched")}
    policies = {"llm": make("llm"), "stitched": make("entropy", tau=pairs["stitched"].tau)}
    chosen = spread(problems("test"), 2 * n + answers)
    runs = {name: Run() for name in pairs}
    decoding = dict.fromkeys(pairs, 0.0)
    for pair in pairs.values():
        set_threads(pair, threads)
    for round_ in range(rounds):
        for name in sorted(pairs, reverse=bool(round_ % 2)):
            pair, problems_in_turn = pairs[name], itertools.cycle(chosen)
            with decodes_of(pair.engine.runners) as decodes:
                Loop(pair, policies[name], problems_in_turn, n).run(answers, runs[name])
                decoding[name] += decodes.take()
    per_answer = {name: decoding[name] / (rounds * (answers + n)) for name in pairs}
    return {
        "n": n,
        "llm_answers_per_second": runs["llm"].rate,
        "over_llm": runs["stitched"].rate / runs["llm"].rate,
        "decode_seconds_per_answer": per_answer,
        "ceiling_over_llm": per_answer["llm"] / per_answer["stitched"],
    }


def accuracy(chosen: Sequence[Problem]) -> dict[str, dict[str, float]]:
    """Right answers of each variant, and how many differ from the exact one's."""
    found, exact = {}, list[list[int]]()
    for name, settings in VARIANTS.items():
        progress(f"accuracy of {name} on {len(chosen)} problems")
        with load(max_rows=16, threads=1, **settings) as pair:
            given = pair.batch([p.question for p in chosen], max_tokens=MAX_TOKENS)
        tokens = [[p.token for p in a.trace.proposals if p.keep] for a in given]
        exact = exact or tokens
        right = sum(is_right(a.text, p.answer) for a, p in zip(given, chosen, strict=True))
        differ = sum(a != b for a, b in zip(tokens, exact, strict=True))
        llm = sum(a.usage.llm_tokens for a in given) / sum(a.usage.tokens for a in given)
        found[name] = {
            "right": 100 * right / len(chosen),
            "differ": 100 * differ / len(chosen),
            "llm_share": llm,
        }
        line = found[name]
        say(f"{name:18}{line['right']:7.1f} % right{line['differ']:7.1f} % differ{llm:7.0%} LLM")
    return found


def real_shapes(quick: bool, threads: int) -> dict[str, Any]:
    """Hand-offs by coins of recorded seeds, as in `benchmarks.overhead`; the LLM alone beside."""
    progress("writing 0.5B and 1.5B models, Q4_K_M, random weights")
    with tempfile.TemporaryDirectory() as directory:
        paths = {Side.SLM: Path(directory) / "0.5b.gguf", Side.LLM: Path(directory) / "1.5b.gguf"}
        shapes = {Side.SLM: "0.5b", Side.LLM: "1.5b"}
        runners = {s: random_gguf.runner(shapes[s], paths[s], threads) for s in Side}
        sizes = {side: read(path).stored_bytes for side, path in paths.items()}
    engine = InProcessEngine(runners, frozenset())
    policy, prompt = make("random", p=1 / (SLM_RUN + 1), q=1 / LLM_RUN), tuple(range(100, 132))
    tokens, seeds = (40, (1,)) if quick else (120, (1, 2, 3))
    requests = [
        Request(dict.fromkeys(Side, prompt), policy, Sampling(seed=seed), max_tokens=tokens)
        for seed in seeds
    ]
    found = over_decodes(engine, requests)
    alone = Request({Side.LLM: prompt}, make("llm"), Sampling(), max_tokens=tokens // 2)
    llm = write(engine, alone)
    rate = found["tokens"] / found["seconds"]
    return {
        **found,
        "tokens_per_second": rate,
        "over_llm": rate * sum(llm.steps) / llm.usage.tokens,
        "weight_bytes_ratio": sizes[Side.LLM] / sizes[Side.SLM],
    }


def over_both(found: dict[str, Any]) -> float:
    """The harder of the two readings of "the decodes that it contains"."""
    return max(found["over_contained"][0], found["over_replayed"][0])


def main() -> None:
    args = parsed(parser(__doc__, "under 50 seconds, few answers"))
    n_speed, n_bare, n_accuracy = (8, 4, 32) if args.quick else (150, 60, 1000)
    test = problems("test")
    pair = load(max_rows=2)
    threads = best_threads(pair, spread(test, 3))
    speed = one_at_a_time(pair, spread(test, n_speed), threads)
    bare = builtin_overhead(pair, spread(test, n_bare))
    say(
        f"stitched: {speed['over_llm']['ratio']:.2f}x the LLM alone "
        f"(decodes allow {bare['ceiling_over_llm']:.2f}x), "
        f"{speed['over_torch']['ratio']:.2f}x torch, "
        f"{bare['stitched']['over_contained'][0]:.3f}x the decodes it contains, "
        f"{bare['stitched']['over_replayed'][0]:.3f}x their replay"
    )
    many = in_flight(16, *((16, 1) if args.quick else (48, 3)), threads)
    say(
        f"16 in flight: {many['over_llm']:.2f}x the LLM alone at 16 "
        f"(decodes allow {many['ceiling_over_llm']:.2f}x)"
    )
    real = real_shapes(args.quick, torch.get_num_threads())
    say(
        f"0.5B and 1.5B shapes, Q4_K_M: {real['over_contained'][0]:.4f}x the decodes, "
        f"{real['over_replayed'][0]:.4f}x their replay, {real['tokens_per_second']:.1f} tokens/s, "
        f"{real['over_llm']:.2f}x the LLM alone; weights {real['weight_bytes_ratio']:.2f}x"
    )
    kinds = accuracy(spread(test, n_accuracy))
    bars = {
        f"over_llm_{OVER_LLM}x": speed["over_llm"]["ratio"] >= OVER_LLM,
        "llm_within_5_percent_of_llama_cpp_python": speed["llm_over_completion"] <= OVER_RIVAL,
        f"over_torch_{OVER_TORCH}x": speed["over_torch"]["ratio"] >= OVER_TORCH,
        f"over_decodes_{OVER_BARE}x": over_both(bare["stitched"]) <= OVER_BARE,
        f"over_llm_{IN_FLIGHT}x_at_16": many["over_llm"] >= IN_FLIGHT,
        f"real_shapes_{REAL}x": real["over_contained"][0] <= REAL,
    }
    show_bars(bars)
    details = {
        "tau": pair.tau,
        "llama_cpp_python": version("llama-cpp-python"),
        "one_at_a_time": speed,
        "bare": bare,
        "in_flight": many,
        "real_shapes": real,
        "accuracy": kinds,
        "bars": bars,
    }
    finish("llamacpp", speed["over_llm"]["ratio"], OVER_LLM, details, args.save)


if __name__ == "__main__":
    main()

"""A pair of Qwen2.5's shapes with random weights on one GPU: what issue-sized claims rest on.

    python -m benchmarks.gpu --pair 1.5B/7B [--out DIR] [--budget 540]

One command per pair. It builds both models on the device, then measures in this order, each beside
its ceiling: the copy bandwidth; decode steps and short catch-ups; what a hand-off costs; stitched
answers at an LLM share of 10, 25 and 60 %; 1 to 64 of them in flight, by the waiting table, by the
naive rule and at the optimum computed from the same run's steps; speculative decoding from the same
steps; whether graphs change a token; transformers' own `generate`. What is measured is kept in DIR,
so that a run that was cut short goes on where it was; another code or machine begins anew. The last
line is one JSON document. Needs torch, transformers, numpy, and on a GPU Triton.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks import gpu_runs as runs
from benchmarks import gpu_steps as steps
from benchmarks.gpu_pair import SHAPES, Pair, random_model, say
from rstitch.files import replaced
from rstitch.policy import make

ACCEPTANCES = (0.72, 0.93)
"""Shares of tokens on which the paper's pairs agree."""
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Kept:
    """What has been measured, by name, written after each; `most` seconds are for what is not."""

    def __init__(self, path: Path, about: dict[str, Any], most: float) -> None:
        self.path, self.about, self.most = path, about, most
        self.started = time.perf_counter()
        self.skipped: list[str] = []
        found = json.loads(path.read_text()) if path.is_file() else {}
        same = found.get("about") == about
        self.found: dict[str, Any] = found["found"] if same else {"steps": {}}

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """None where there is no time left."""
        if name in self.found:
            return self.found[name]
        if time.perf_counter() - self.started > self.most:
            self.skipped.append(name)
            return None
        self.found[name] = measure()
        with replaced(self.path) as partial:
            partial.write_text(json.dumps({"about": self.about, "found": self.found}, indent=1))
        return self.found[name]


def about(pair: Pair, context: int) -> dict[str, Any]:
    """What a number belongs to; a file of another is not gone on with."""
    code = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted([*root.glob("rstitch/engine/**/*.py"), *root.glob("benchmarks/gpu*.py")]):
        code.update(path.read_bytes())
    cuda = pair.device.type == "cuda"
    return {
        "pair": pair.name,
        "dtype": str(pair.dtype).removeprefix("torch."),
        "context": context,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "code": code.hexdigest()[:16],
    }


def single(pair: Pair, costs: steps.Costs, kept: Kept, context: int, tokens: int) -> None:
    """Items 1 to 3 and 5."""
    if "bandwidth" not in kept.found:  # a fraction of a second, and all else needs it
        kept.found["bandwidth"] = steps.bandwidth(pair)
    speed = kept.found["bandwidth"]
    say(f"copy bandwidth {speed / 1e12:.2f} TB/s")
    found = kept.get("floors", lambda: steps.floors(pair, costs, context, speed))
    for side, one in (found or {}).items():
        say(
            f"{side} decode step at {context}: {1e3 * one['seconds']:.3f} ms, floor "
            f"{1e3 * one['floor']:.3f} ms, {one['over_floor']:.2f}x"
        )
    widths = kept.get("catch_ups", lambda: steps.catch_ups(costs, context, pair.quick))
    for side, seconds in (widths or {}).items():
        say(f"{side} catch-ups: " + " ".join(f"{1e3 * s:.2f}" for s in seconds) + " ms")
    bare = kept.get("llm alone", lambda: _alone(pair, costs, make("llm"), context, tokens))
    kept.get("slm alone", lambda: _alone(pair, costs, make("slm"), context, tokens))
    for share, (p, q) in runs.SHARES.items():
        policy = make("random", p=p, q=q)
        one = kept.get(
            f"stitched {share}", lambda policy=policy: _alone(pair, costs, policy, context, tokens)
        )
        if one and bare:
            over = " ".join(f"{k} +{1e3 * v:.2f} ms" for k, v in one["overheads"].items())
            say(
                f"share {share} %: {one['rate']:.0f} tokens/s, {one['rate'] / bare['rate']:.2f}x "
                f"the LLM alone, {one['of_ideal']:.0%} of the ideal; hand-offs {over}"
            )
    for acceptance in ACCEPTANCES:
        spec = kept.get(
            f"speculative {acceptance}",
            lambda a=acceptance: steps.speculative(costs, context, a),
        )
        if spec:
            say(f"speculative at {acceptance:.0%}: {spec['over_llm']:.2f}x with k = {spec['k']}")


def _alone(pair: Pair, costs: steps.Costs, policy: Any, context: int, tokens: int) -> Any:
    engine = pair.engine()
    runs.expect(engine, costs, 1, context)
    runs.alone(engine, runs.request(pair, policy, 1, context, 8))  # captures what is missing
    run = runs.alone(engine, runs.request(pair, policy, 2, context, tokens))
    best = runs.ideal(run, costs)
    return {
        "rate": run.rate,
        "llm_share": run.llm / max(run.kept, 1),
        "of_ideal": best / run.seconds,
        "overheads": runs.overheads(run, costs),
    }


def many(
    pair: Pair, costs: steps.Costs, kept: Kept, sizes: tuple[int, ...], seconds: float
) -> None:
    """Item 4."""
    context = 32 if pair.quick else 512
    say("  N  share   table   naive  optimum  of it   over the LLM alone")
    for n in sizes:
        rate = kept.get(
            f"llm {n}",
            lambda n=n: runs.in_flight(pair, pair.engine(), make("llm"), n, context, seconds).rate,
        )
        for share in runs.SHARES:
            one = rate and kept.get(
                f"in flight {n} {share}",
                lambda n=n, share=share, rate=rate: runs.concurrency(
                    pair, costs, n, share, context, seconds, rate
                ),
            )
            if one:
                say(
                    f"{n:3d}{share:6d}%{one['over_llm']:8.2f}{one['naive_over_llm']:8.2f}"
                    f"{one['optimum_over_llm']:9.2f}{one['of_optimum']:7.0%}"
                )


def checks(pair: Pair, kept: Kept, context: int) -> None:
    """Item 6: here in this pair's precision, and in float32 on small models."""
    tokens, count = (12, 2) if pair.quick else (64, 4)
    here = kept.get("same", lambda: runs.same_tokens(pair, min(context, 256), tokens, count))
    if here:
        say(f"tokens from the first differing one on, {pair.dtype}: {_rates(here)}")

    def small() -> Any:
        other = Pair("tiny", "small", pair.device, torch.float32, 256, 8, True)
        other.build()
        return runs.same_tokens(other, 16, tokens, count)

    exact = kept.get("same in float32", small)
    if exact:
        say(f"the same on small models in float32: {_rates(exact)}")


def _rates(found: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {rate:.2%}" for name, rate in found.items())


def theirs(pair: Pair, kept: Kept, context: int, tokens: int) -> None:
    """transformers' generate with a static cache, which it compiles on a GPU; 1.5B and 7B."""
    cuda = pair.device.type == "cuda"
    for shape in {pair.slm, pair.llm} & ({"1.5B", "7B"} if cuda else {"tiny"}):

        def measure(shape: str = shape) -> float:
            model = random_model(shape, pair.device, pair.dtype, pair.length, pair.quick)
            model.set_attn_implementation("sdpa")
            ids = torch.randint(3, pair.vocab_size, (1, context), device=pair.device)
            options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
            options |= {"cache_implementation": "static"} if cuda else {}

            def seconds(count: int) -> float:
                pair.wait()
                started = time.perf_counter()
                model.generate(ids, max_new_tokens=count, min_new_tokens=count, **options)
                pair.wait()
                return time.perf_counter() - started

            few, more = max(tokens // 4, 2), max(tokens, 8)
            seconds(few), seconds(more)  # compiles
            return (seconds(more) - seconds(few)) / (more - few)

        each = kept.get(f"transformers {shape}", measure)
        if each:
            say(f"transformers' generate, {shape}: {1e3 * each:.2f} ms per token")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pair", default="1.5B/7B", help="SLM/LLM of " + ", ".join(SHAPES))
    options.add_argument("--device", default="cuda", help="cuda or cpu")
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--out", type=Path, default=Path("."), help="where results are kept")
    options.add_argument("--budget", type=float, default=540.0, help="seconds for what is missing")
    options.add_argument("--quick", action="store_true", help="tiny shapes, few of everything")
    args = options.parse_args()
    slm, _, llm = ("tiny/small" if args.quick else args.pair).partition("/")
    if slm not in SHAPES or llm not in SHAPES:
        options.error(f"--pair is {args.pair!r}; it must be SLM/LLM of {', '.join(SHAPES)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        options.error("torch finds no GPU here; --quick --device cpu tries the code without one")
    context, tokens, length, sizes = (
        (48, 48, 192, (1, 2)) if args.quick else (2048, 192, 4096, SIZES)
    )
    pair = Pair(
        slm,
        llm,
        torch.device(args.device),
        getattr(torch, args.dtype),
        length,
        max(sizes),
        args.quick,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    name = f"gpu-{slm}-{llm}{'-quick' if args.quick else ''}.json"
    kept = Kept(args.out / name, about(pair, context), args.budget)
    pair.build()
    costs = steps.Costs(pair, kept.found["steps"])
    single(pair, costs, kept, context, tokens)
    many(pair, costs, kept, sizes, 0.1 if args.quick else 1.0)
    checks(pair, kept, context)
    theirs(pair, kept, context, tokens)
    if kept.skipped:
        say(f"no time for {len(kept.skipped)} measurements; run the same command again")
    whole = {"name": "gpu", **kept.about, "skipped": kept.skipped, **kept.found}
    print(json.dumps({k: v for k, v in whole.items() if k != "steps"}), flush=True)


if __name__ == "__main__":
    main()

"""What stitching on vLLM costs and brings, beside vLLM running the LLM alone.

    python -m benchmarks.vllm [--quick] [--save]      (in an environment with vLLM: make vllm)

Two pairs: the built-in one at tau 0.02, and one of random weights, an LLM of Qwen2.5-0.5B's shape
with an SLM of 2 layers, where control passes by coins (`random`, 25 % of the tokens are the LLM's).
For 1, 4 and 16 in flight: tokens per second of vLLM's own `generate` on the LLM's engine, of the
LLM alone through the gate, and stitched. A hand-off's overhead is what the first pass of a turn
takes beyond a decode step of that side, in steps; prefills of more than 16 tokens are left out.
Then vLLM's own speculative decoding with that SLM as draft (`draft_model`), where it runs at all.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from benchmarks.random_pair import ROWS, SHAPES, TOKENS
from rstitch.config import EngineConfig
from rstitch.engine.request import Engine, Request
from rstitch.errors import RStitchError
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make
from rstitch.types import CATCH_UP, Failed, Finished, Forward, Sampling, Side
from rstitch.vllm.engine import VllmEngine
from rstitch.vllm.loader import arguments
from rstitch.vllm.side import Shape, VllmSide
from rstitch.vllm.starting import starting

IN_FLIGHT = (1, 4, 16)
GOAL = 1.5
"""Times the LLM alone, at 4 in flight on the random pair."""
OVERHEAD = 1.5
"""Engine steps of a hand-off at most."""
SMALL = {**SHAPES["0.5b"], "num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 1024,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
COINS = make("random", p=0.12, q=0.4)
"""A share of 1 / (1 + q (1 - p) / p): a quarter."""
CONTEXT = 1024
Prompts = dict[Side, tuple[int, ...]]


# -- pairs ----------------------------------------------------------------------------------------


@contextmanager
def random_pair(root: Path) -> Iterator[tuple[Engine, dict[Side, Path]]]:
    """Weights are vLLM's own random ones, so only the shapes are written."""
    homes = {}
    for side, shape in ((Side.SLM, SMALL), (Side.LLM, SHAPES["0.5b"])):
        homes[side] = root / side.label
        homes[side].mkdir()
        config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **shape,
                  "vocab_size": ROWS, "max_position_embeddings": CONTEXT, "hidden_act": "silu",
                  "rms_norm_eps": 1e-6, "rope_theta": 1e6, "torch_dtype": "bfloat16"}  # fmt: skip
        (homes[side] / "config.json").write_text(json.dumps(config))
    settings = EngineConfig(
        engine="vllm",
        max_rows=max(IN_FLIGHT),
        dtype="bfloat16",
        kv_memory=2.0,
        **{f"{side.label}_vllm": json.dumps({"load_format": "dummy"}) for side in Side},  # type: ignore[arg-type]
    )
    sides = {
        side: VllmSide(
            Shape(str(home), TOKENS, ROWS, CONTEXT, 4 * 64 * 2 * (24 if side else 2)),
            arguments(str(home), None, False, CONTEXT, settings, side),
        )
        for side, home in homes.items()
    }
    engine = VllmEngine(sides, dict.fromkeys(Side, frozenset()), settings, dict.fromkeys(Side))
    try:
        yield engine, homes
    finally:
        engine.close()


def random_prompts(count: int) -> list[Prompts]:
    return [dict.fromkeys(Side, tuple(1000 + 7 * i + j for j in range(32))) for i in range(count)]


# -- runs -----------------------------------------------------------------------------------------


def stitched(engine: Engine, prompts: list[Prompts], policy: Policy, tokens: int, ignore: bool):  # type: ignore[no-untyped-def]
    """(kept tokens per second, the share of the LLM, passes) of all of them at once."""
    started = time.perf_counter()
    for i, one in enumerate(prompts):
        mine = {side: one[side] for side in policy.sides()}
        engine.submit(Request(mine, policy, Sampling(seed=i), max_tokens=tokens, ignore_eos=ignore))
    ends: list[Finished] = []
    while len(ends) < len(prompts):
        for event in engine.step():
            if isinstance(event, Failed):
                raise event.error
            ends += [event] if isinstance(event, Finished) else []
    seconds = time.perf_counter() - started
    kept = sum(end.usage.tokens for end in ends)
    share = sum(end.usage.llm_tokens for end in ends) / kept
    return kept / seconds, share, [pass_ for end in ends for pass_ in end.forwards]


def plain(engine: Engine, prompts: list[Prompts], tokens: int, ignore: bool, ends: list[int]):  # type: ignore[no-untyped-def]
    """Tokens per second of vLLM's `generate` on the LLM's engine, without the gate."""
    whole: Any = engine
    llm = whole.runners[Side.LLM].llm
    work = _generate(llm, [one[Side.LLM] for one in prompts], tokens, [] if ignore else ends)
    started = time.perf_counter()
    count = asyncio.run_coroutine_threadsafe(work, whole._loop).result()
    return count / (time.perf_counter() - started)


async def _generate(llm: Any, prompts: list[tuple[int, ...]], tokens: int, ends: list[int]) -> int:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    wanted = SamplingParams(
        temperature=0.0, max_tokens=tokens, ignore_eos=True, stop_token_ids=ends,
        detokenize=False, output_kind=RequestOutputKind.DELTA,
    )  # fmt: skip

    async def one(name: str, ids: tuple[int, ...]) -> int:
        outputs = llm.generate({"prompt_token_ids": list(ids)}, wanted, name)
        return sum([len(output.outputs[0].token_ids) async for output in outputs])

    stamp = time.perf_counter_ns()
    named = [one(f"plain-{stamp}-{i}", ids) for i, ids in enumerate(prompts)]
    return sum(await asyncio.gather(*named))


def overhead(engine: Engine, prompts: list[Prompts], tokens: int) -> dict[str, dict[str, float]]:
    """Per side, one answer after the other: a decode step, a turn's first pass, and what that takes
    beyond it in steps."""
    passes, found = list[Forward](), {}
    for one in prompts:
        passes += stitched(engine, [one], COINS, tokens, True)[2]
    for side in Side:
        mine, before = {True: list[float](), False: list[float]()}, None
        for one in passes:
            if one.side is side and one.new_tokens <= CATCH_UP:
                mine[before is not side].append(one.seconds)
            before = one.side
        step, first = (statistics.median(mine[key]) for key in (False, True))
        found[side.label] = {"step": step, "first": first, "steps": (first - step) / step}
    return found


def compare(
    engine: Engine, prompts: list[Prompts], policy: Policy, tokens: int, ignore: bool,
    ends: list[int],
) -> dict[str, Any]:  # fmt: skip
    """Each at 1, 4 and 16 in flight, one after the other."""
    found: dict[str, Any] = {}
    for rows in IN_FLIGHT:
        some = prompts[:rows]
        stitched(engine, some, policy, 8, ignore)  # warm
        own = plain(engine, some, tokens, ignore, ends)
        gated, _, _ = stitched(engine, some, make("llm"), tokens, ignore)
        both, share, _ = stitched(engine, some, policy, tokens, ignore)
        found[str(rows)] = {
            "vllm_llm": own, "gated_llm": gated, "stitched": both, "share": share,
            "speedup": both / own,
        }  # fmt: skip
        say(f"{rows:>3} in flight: vLLM's LLM {own:.0f} tokens/s, gated {gated:.0f}, stitched "
            f"{both:.0f} (share {share:.0%}): {both / own:.2f}x")  # fmt: skip
    return found


# -- vLLM's own speculative decoding --------------------------------------------------------------


def speculative(homes: dict[Side, Path], prompts: list[Prompts], tokens: int) -> dict[str, Any]:
    """Tokens per second of `draft_model` with the random pair, or why it does not run."""
    options = {
        "model": str(homes[Side.LLM]), "load_format": "dummy", "dtype": "bfloat16",
        "skip_tokenizer_init": True, "max_model_len": CONTEXT, "max_num_seqs": max(IN_FLIGHT),
        "kv_cache_memory_bytes": 2**30, "enforce_eager": True, "disable_log_stats": True,
        "speculative_config": {"method": "draft_model", "model": str(homes[Side.SLM]),
                               "num_speculative_tokens": 3, "draft_load_config":
                               {"load_format": "dummy"}},
    }  # fmt: skip

    async def run() -> dict[str, float]:
        with starting("cpu"):
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**options))
        try:
            found = {}
            for rows in IN_FLIGHT:
                ids = [one[Side.LLM] for one in prompts[:rows]]
                await _generate(llm, ids, 4, [])
                started = time.perf_counter()
                count = await _generate(llm, ids, tokens, [])
                found[str(rows)] = count / (time.perf_counter() - started)
            return found
        finally:
            llm.shutdown()

    try:
        return asyncio.run(run())
    except Exception as error:  # a whole engine that may lack the method on this device
        return {"does_not_run": str(error).splitlines()[0][:200]}


def main() -> None:
    args = parsed(parser(__doc__, "fewer tokens; no speculative decoding"))
    tokens = 16 if args.quick else 48
    rows = max(IN_FLIGHT)
    with rstitch.load(engine="vllm", max_rows=rows) as stitch:
        rule = make("entropy", tau=0.02)
        asked = [one.question for one in spread(problems("test"), rows)]
        prompts = [stitch.prompts(text, policy=rule) for text in asked]
        progress("the built-in pair")
        ends = sorted(stitch.ends[Side.LLM])
        costs = overhead(stitch.engine, prompts[:4], 4 * tokens)
        builtin = compare(stitch.engine, prompts, rule, 200, False, ends)
    with tempfile.TemporaryDirectory() as root, random_pair(Path(root)) as (engine, homes):
        progress("the random pair")
        drawn = compare(engine, random_prompts(rows), COINS, tokens, True, [])
        slow = overhead(engine, random_prompts(2), tokens)
        with suppress(RStitchError):
            engine.close()
        other = {} if args.quick else speculative(homes, random_prompts(rows), tokens)
    reached = drawn["4"]["speedup"]
    show_bars(
        {
            f"hand-offs take at most {OVERHEAD} steps": max(one["steps"] for one in costs.values())
            <= OVERHEAD,
            f"{GOAL}x the LLM alone at 4 in flight, random pair": reached >= GOAL,
        }
    )
    overheads = {"builtin": costs, "random": slow}
    details = {"builtin": builtin, "random": drawn, "overhead": overheads, "draft_model": other}
    finish("vllm", reached, GOAL, details, args.save)


if __name__ == "__main__":
    main()

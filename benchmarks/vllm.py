"""What stitching on vLLM costs and brings, beside vLLM running the LLM alone.

    python -m benchmarks.vllm [--quick] [--save]      (in an environment with vLLM: make vllm)

Two pairs: the built-in one at tau 0.02, and one of random weights, an LLM of Qwen2.5-0.5B's shape
with an SLM of 2 layers, where control passes by coins (`random`, 25 % of the tokens are the LLM's).
With 1, 4 and 16 answers in flight all the time (`vllm_load`): tokens per second of vLLM's own
`generate` on the LLM's engine, of the LLM alone through the gate, and stitched. On a CPU the two
engines share the cores, so vLLM's LLM alone is measured with all of them too: `speedup` is over
the engine as it runs beside the other, `speedup_whole` over what it could have had.
Of the random pair also what both engines did meanwhile (`timeline`), and the bound that a
simulation with the prices of their passes gives (`vllm_bound`). A hand-off's overhead is what the
first pass of a turn takes beyond a decode step of that side, in steps; prefills of more than 16
tokens are left out. Then vLLM's own speculative decoding with that SLM as draft (`draft_model`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import rstitch
from benchmarks import vllm_bound as bound
from benchmarks import vllm_passes as timing
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from benchmarks.vllm_load import SETTLED, Asked, Window, generated, plain, stitched
from benchmarks.vllm_pair import (
    COINS,
    CONTEXT,
    IN_FLIGHT,
    TOKENS_EACH,
    Prompts,
    random_pair,
    random_prompts,
    write,
)  # fmt: skip
from rstitch.engine.request import Engine, Request
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make
from rstitch.types import CATCH_UP, Failed, Finished, Forward, Sampling, Side
from rstitch.vllm.starting import environment, starting

GOAL = 1.5
"""Times the LLM alone, at 4 in flight on the random pair."""
OVERHEAD = 1.5
"""Engine steps of a hand-off at most."""
ANSWER = 200
"""Most tokens of an answer of the built-in pair."""
SECONDS, QUICK = 8.0, 3.0
"""That each count lasts."""


# -- a hand-off -----------------------------------------------------------------------------------


def overhead(
    engine: Engine, prompts: list[Prompts], policy: Policy, tokens: int, ignore: bool
) -> dict[str, dict[str, float]]:
    """Per side, one answer after the other: a decode step, a turn's first pass, and what that takes
    beyond it in steps."""
    passes = [one for ids in prompts for one in alone(engine, ids, policy, tokens, ignore)]
    found = {}
    for side in Side:
        mine, before = {True: list[float](), False: list[float]()}, None
        for one in passes:
            if one.side is side and one.new_tokens <= CATCH_UP:
                mine[before is not side].append(one.seconds)
            before = one.side
        step, first = (statistics.median(mine[key]) for key in (False, True))
        found[side.label] = {"step": step, "first": first, "steps": (first - step) / step}
    return found


def alone(
    engine: Engine, prompts: Prompts, policy: Policy, tokens: int, ignore: bool
) -> tuple[Forward, ...]:
    """The passes of one answer, with nothing else in flight."""
    engine.submit(Request(prompts, policy, Sampling(seed=0), max_tokens=tokens, ignore_eos=ignore))
    while True:
        for event in engine.step():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                return event.forwards


# -- both pairs -----------------------------------------------------------------------------------


def compare(engine: Engine, asked: Asked, policy: Policy) -> tuple[dict[str, Any], Window]:
    """The LLM alone, with and without the gate, and stitched, one after the other."""
    own = plain(engine, asked).table()
    gated = stitched(engine, asked, make("llm")).table()
    window = stitched(engine, asked, policy)
    both = window.table()
    found = {"vllm_llm": own, "gated_llm": gated, "stitched": both,
             "speedup": both["rate"] / own["rate"]}  # fmt: skip
    say(f"{asked.rows:>3} in flight: vLLM's LLM {own['rate']:.0f} tokens/s, gated "
        f"{gated['rate']:.0f}, stitched {both['rate']:.0f} (share {both['share']:.0%}): "
        f"{found['speedup']:.2f}x")  # fmt: skip
    return found, window


def builtin(seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The comparison at each number in flight, and what a hand-off costs."""
    rule, most = make("entropy", tau=0.02), max(IN_FLIGHT)
    with rstitch.load(engine="vllm", max_rows=most) as stitch:
        texts = [one.question for one in spread(problems("test"), 4 * most)]
        prompts = [dict(stitch.prompts(text, policy=rule)) for text in texts]
        ends = tuple(sorted(stitch.ends[Side.LLM]))
        costs = overhead(stitch.engine, prompts[:4], rule, ANSWER, False)
        found = {}
        for rows in IN_FLIGHT:
            asked = Asked(prompts, ANSWER, rows, seconds, ends)
            found[str(rows)] = compare(stitch.engine, asked, rule)[0]
    return found, costs


def drawn(homes: dict[Side, Path], seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of the random pair, with the timeline and the bound of each number in flight."""
    found, log = {}, homes[Side.SLM].parent
    with timing.recording(log), random_pair(homes, worker_cls=timing.WORKER) as engine:
        costs = overhead(engine, random_prompts(2), COINS, TOKENS_EACH, True)
        windows = {}
        for rows in IN_FLIGHT:
            asked = Asked(random_prompts(64), TOKENS_EACH, rows, seconds)
            found[str(rows)], windows[rows] = compare(engine, asked, COINS)
        prices = priced(engine, log, seconds)
    for rows, window in windows.items():
        sides = {side: timing.passes(log, side, window) for side in Side}
        more = found[str(rows)]
        more["timeline"] = timing.timeline(sides, window)
        more["bound"] = bound.apart(rows, prices)
        for side, told in more["timeline"].items():
            say(f"    {side}: busy {told['busy']:.0%}, a pass has {told['rows']:.1f} rows, "
                f"{told['tokens']:.1f} tokens, {1e3 * told['seconds']:.0f} ms")  # fmt: skip
    return found, costs


def whole(homes: dict[Side, Path], seconds: float, found: dict[str, Any]) -> None:
    """Into `found`: vLLM's LLM alone with all cores, and the bound if both engines had them."""
    log = homes[Side.SLM].parent
    (log / "slm.jsonl").unlink()
    (log / "llm.jsonl").unlink()
    cores = environment({"OMP_NUM_THREADS": str(os.cpu_count() or 1)})
    with cores, timing.recording(log), random_pair(homes, worker_cls=timing.WORKER) as engine:
        for rows in IN_FLIGHT:
            asked = Asked(random_prompts(64), TOKENS_EACH, rows, seconds)
            found[str(rows)]["vllm_llm_whole"] = plain(engine, asked).table()
        prices = priced(engine, log, seconds)
    for rows in IN_FLIGHT:
        more = found[str(rows)]
        most = more["vllm_llm_whole"]["rate"]
        more["speedup_whole"] = more["stitched"]["rate"] / most
        more["bound_in_turns"] = bound.in_turns(rows, prices)
        say(f"{rows:>3} in flight: vLLM's LLM with all cores {most:.0f} tokens/s, stitched is "
            f"{more['speedup_whole']:.2f}x; bounds {more['bound']:.0f} on halves of the cores, "
            f"{more['bound_in_turns']:.0f} in turns on all")  # fmt: skip


def priced(engine: Engine, log: Path, seconds: float) -> bound.Prices:
    """What passes cost while the other engine is idle, gate and all."""
    found: dict[Side, list[timing.Pass]] = {}
    for side, policy in ((Side.SLM, make("slm")), (Side.LLM, make("llm"))):
        found[side] = []
        for rows in IN_FLIGHT:
            asked = Asked(random_prompts(64), TOKENS_EACH, rows, seconds / 4)
            window = stitched(engine, asked, policy)
            early = Window(window.begin - SETTLED, window.end)  # the first prefills too
            found[side] += timing.passes(log, side, early)
        if not found[side]:
            raise RuntimeError(f"no pass of the {side.label} ended in time: is the machine idle?")
    return {Side.SLM: timing.by_rows(found[Side.SLM]), Side.LLM: timing.by_tokens(found[Side.LLM])}


# -- vLLM's own speculative decoding --------------------------------------------------------------


def speculative(homes: dict[Side, Path], seconds: float) -> dict[str, Any]:
    """Tokens per second of `draft_model` with the random pair, or why it does not run."""
    options = {
        "model": str(homes[Side.LLM]), "load_format": "dummy", "dtype": "bfloat16",
        "skip_tokenizer_init": True, "max_model_len": CONTEXT, "max_num_seqs": max(IN_FLIGHT),
        "kv_cache_memory_bytes": 2**30, "enforce_eager": True, "disable_log_stats": True,
        "speculative_config": {"method": "draft_model", "model": str(homes[Side.SLM]),
                               "num_speculative_tokens": 3, "draft_load_config":
                               {"load_format": "dummy"}},
    }  # fmt: skip

    async def run() -> dict[str, Any]:
        with starting("cpu"):
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**options))
        try:
            asked = [
                Asked(random_prompts(64), TOKENS_EACH, rows, seconds / 2) for rows in IN_FLIGHT
            ]
            return {str(one.rows): (await generated(llm, one)).table()["rate"] for one in asked}
        finally:
            llm.shutdown()

    try:
        return asyncio.run(run())
    except Exception as error:  # a whole engine that may lack the method on this device
        return {"does_not_run": str(error).splitlines()[0][:200]}


def main() -> None:
    args = parsed(parser(__doc__, "shorter; no speculative decoding"))
    seconds = QUICK if args.quick else SECONDS
    progress("the built-in pair")
    tiny, costs = builtin(seconds)
    with tempfile.TemporaryDirectory() as root:
        homes = write(Path(root))
        progress("the random pair")
        large, slow = drawn(homes, seconds)
        whole(homes, seconds, large)
        other = {} if args.quick else speculative(homes, seconds)
    reached = large["4"]["speedup"]
    show_bars(
        {
            f"hand-offs take at most {OVERHEAD} steps": max(one["steps"] for one in costs.values())
            <= OVERHEAD,
            f"{GOAL}x the LLM alone at 4 in flight, random pair": reached >= GOAL,
        }
    )
    overheads = {"builtin": costs, "random": slow}
    details = {"builtin": tiny, "random": large, "overhead": overheads, "draft_model": other}
    finish("vllm", reached, GOAL, details, args.save)


if __name__ == "__main__":
    main()

"""What a hand-off costs on each path to vLLM: sessions, resubmission, HTTP.

    python -m benchmarks.vllm_handoff [--quick] [--save]      (in an environment with vLLM)

The built-in pair writes by a script: the SLM some tokens, the LLM some, and so on, one answer at a
time. No gate decides: it is only the cost of passing control that is measured. On every path a
turn's overhead is its seconds beyond as many decode steps as it has tokens; what a step takes is
read off turns of two lengths on the same path. The paths:

- sessions: a turn feeds what the side has not seen (`rstitch.vllm.session`), as the engine does;
- resubmission: each turn is a new request with everything so far, vLLM's prefix cache on;
- HTTP: the same over /v1/completions of two servers, with token ids and kept connections.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say
from benchmarks.vllm_server import servers
from rstitch.pairs import BUILTIN
from rstitch.policy import make
from rstitch.types import Side
from rstitch.vllm.asked import Asked
from rstitch.vllm.report import Layout
from rstitch.vllm.session import Session

RUNS = {Side.SLM: 8, Side.LLM: 3}
"""Tokens of a turn."""
PROMPT = 192
BLOCK = 32
"""Tokens of a block of the prefix cache, which finds whole ones only; 128 on a CPU by itself."""
SHORT, LONG = 8, 72
"""Tokens of the turns that tell what a step takes."""
OPTIONS = f'{{"enable_prefix_caching": true, "block_size": {BLOCK}}}'
Turn = Callable[[str, Side, list[int], int], Awaitable[list[int]]]
"""(the answer's name, side, all tokens so far, how many to write) -> the new tokens."""


# -- the paths ------------------------------------------------------------------------------------


class Sessions:
    """A session per side, as the engine has them; nobody's policy passes control."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.name, self.open = engine, "", dict[Side, Session]()

    async def turn(self, name: str, side: Side, ids: list[int], most: int) -> list[int]:
        if name != self.name:  # one answer at a time: the others' rows are wanted
            await self.close()
            self.name = name
        runner, policy = self.engine.runners[side], make(side.label)
        layout = Layout.of(policy, runner.shape.columns, runner.shape.vocab_size, 0)
        session = self.open.setdefault(side, Session(runner.llm, f"{name}-{side.label}", []))
        asked = Asked(
            policy=policy.spec(), side=int(side), columns=layout.columns, prompt=PROMPT,
            vocab_size=layout.vocab_size, start=len(ids) - PROMPT, memory=policy.initial_state(),
            stop=layout.stop, seed=0, accepted=time.time(),
        )  # fmt: skip
        found = list[int]()
        async for reports in session.turn(ids[session.cached :], asked, layout, most):
            found += [one.proposal(0, side).token for one in reports]
        session.cached = len(ids) + len(found) - 1  # vLLM drops the last one
        return found

    async def close(self) -> None:
        for session in self.open.values():
            await session.close()
        self.open.clear()


class Resubmission:
    """A new request for every turn."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.numbers = engine, itertools.count()

    async def turn(self, name: str, side: Side, ids: list[int], most: int) -> list[int]:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        wanted = SamplingParams(
            temperature=0.0, max_tokens=most, ignore_eos=True, detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )  # fmt: skip
        found, number = list[int](), next(self.numbers)
        outputs = self.engine.runners[side].llm.generate(
            {"prompt_token_ids": list(ids)}, wanted, f"{name}-{number}"
        )
        async for output in outputs:
            found += output.outputs[0].token_ids
        return found


# -- what is measured -----------------------------------------------------------------------------


async def measured(turn: Turn, answers: int, turns: int) -> dict[str, dict[str, float]]:
    """Per side: a step, the median seconds of a turn beyond its steps, and those in steps."""
    beyond: dict[Side, list[float]] = {side: [] for side in Side}
    steps: dict[Side, list[float]] = {side: [] for side in Side}
    await written(turn, "warm", prompt(0), 2 * len(Side))
    for number in range(1, answers + 1):
        for side in Side:
            steps[side].append(await step_of(turn, f"step-{number}", side, number))
        for side, seconds in await written(turn, f"answer-{number}", prompt(-number), turns):
            beyond[side].append(seconds)
    found = {}
    for side in Side:
        step = statistics.median(steps[side])
        over = statistics.median(beyond[side]) - RUNS[side] * step
        found[side.label] = {"step": step, "overhead": over, "steps": over / step}
    return found


async def written(turn: Turn, name: str, ids: list[int], turns: int) -> list[tuple[Side, float]]:
    """The seconds of every turn but each side's first, which reads the prompt."""
    found = []
    for number, side in zip(range(turns), itertools.cycle(Side), strict=False):
        began = time.perf_counter()
        ids = ids + await turn(name, side, ids, RUNS[side])
        if number >= len(Side):
            found.append((side, time.perf_counter() - began))
    return found


async def step_of(turn: Turn, name: str, side: Side, number: int) -> float:
    """Seconds of a token more, of a side that has read what it continues."""
    ids, took = prompt(1000 * number + side), []
    ids = ids + await turn(name, side, ids, SHORT)
    for most in (SHORT, LONG):
        began = time.perf_counter()
        ids = ids + await turn(name, side, ids, most)
        took.append(time.perf_counter() - began)
    return (took[1] - took[0]) / (LONG - SHORT)


def prompt(seed: int) -> list[int]:
    """Such as no other answer begins with."""
    rng = random.Random(seed)
    return [rng.randrange(10, 400) for _ in range(PROMPT)]


def main() -> None:
    args = parsed(parser(__doc__, "fewer answers"))
    answers, turns = (2, 12) if args.quick else (8, 24)
    found: dict[str, Any] = {}
    progress("in this process")
    with rstitch.load(engine="vllm", max_rows=4, slm_vllm=OPTIONS, llm_vllm=OPTIONS) as stitch:
        engine: Any = stitch.engine

        async def both() -> None:
            sessions = Sessions(engine)
            found["sessions"] = await measured(sessions.turn, answers, turns)
            await sessions.close()
            found["resubmission"] = await measured(Resubmission(engine).turn, answers, turns)

        asyncio.run_coroutine_threadsafe(both(), engine._loop).result()
    progress("over HTTP")
    with servers({side: BUILTIN / side.label for side in Side}, BLOCK) as running:

        async def http() -> None:
            async def turn(name: str, side: Side, ids: list[int], most: int) -> list[int]:
                return await running[side].complete(ids, most)

            found["http"] = await measured(turn, answers, turns)
            for one in running.values():
                await one.close()

        asyncio.run(http())
    for name, sides in found.items():
        for side, told in sides.items():
            say(f"{name:>12}, to the {side}: {1e3 * told['overhead']:.1f} ms beyond its steps of "
                f"{1e3 * told['step']:.2f} ms ({told['steps']:.1f} steps)")  # fmt: skip
    ratio = found["http"]["slm"]["overhead"] / found["sessions"]["slm"]["overhead"]
    finish("vllm_handoff", ratio, 1.0, found, args.save)


if __name__ == "__main__":
    main()

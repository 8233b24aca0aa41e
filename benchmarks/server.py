"""Does stitching pay through the server, and what does the server cost?

    python -m benchmarks.server [--quick] [--save]

`rstitch serve` and a load generator, each a process of its own, on loopback: N clients in a closed
loop have streams of greedy answers to test problems of every kind, written by the built-in pair or
by its LLM alone, in turn. Counted is from the Nth answer's end to that of the last but N.

Overhead: 16 clients of the server, in turn with 16 in flight on the bare engine in this process
while the server is idle, once with the machine to itself and once beside a process that takes as
much of it as HTTP and the generator do: the ceiling of an engine behind a server on this machine.

Fairness: a client asks one after the other while 64 clients of another key flood the server. Its
p95 is held against two definitions of its fair share. Half of the machine: its p95 where both keys
keep half of the rows busy. An equal: its p95 beside one client like itself. That asks for more,
since the machine then writes two answers at once, and a step of 32 rows is no step of two.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from statistics import harmonic_mean, median
from typing import Any

import numpy as np

import rstitch
from benchmarks import inflight
from benchmarks.busy import beside
from benchmarks.common import finish, parsed, parser, progress, rotated, say, show_bars
from benchmarks.load import Answer, Done, Generator, Group, generator
from benchmarks.served import HOST, Server, serve
from rstitch.api import Stitch
from rstitch.config import EngineConfig
from rstitch.evals.statistics import ratio_interval
from rstitch.pairs.recipe.problem import Problem
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make

GOAL = 2.0
OVERHEAD = 1.10
"""Seconds of the server over those of the bare engine, at BARE clients."""
FAIR = 1.5
BARE, FLOOD = 16, 64
BLOCKS = 24
"""Of the server and of the bare engine: one of them may differ by a third from the next."""
MODELS = {"stitched": "builtin", "llm": "builtin-llm"}
ENGINES = ("bare", "beside")
KEYS = {name: f"rs-benchmark-{name}" for name in ("load", "flood")}
POINTS = (0.5, 0.95, 0.99)
HALF = EngineConfig().max_rows // 2
COMPANY = {"alone": (1, 0), "equal": (1, 1), "half": (HALF, HALF), "flooded": (1, FLOOD)}
"""Clients of a key, and of another key beside it."""


@dataclass(slots=True)
class Run:
    """What one model did at one number of clients, summed over its blocks."""

    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    """Those that count."""
    lost: list[str] = field(default_factory=list)
    """How requests ended that did not get their answer, of all that were sent."""
    client: float = 0.0
    """CPU seconds of the generator over those of the clock."""

    @property
    def rate(self) -> float:
        return len(self.answers) / self.seconds

    def add(self, done: Done, clients: int) -> float:
        """A block; its answers a second."""
        (answers,) = done.answers
        counted = answers[clients:-clients]
        seconds = counted[-1].ended - answers[clients - 1].ended
        self.seconds += seconds
        self.answers += counted
        self.lost += [one.reason for one in answers if one.reason not in ("stop", "length")]
        self.client = max(self.client, done.cpu / done.wall)
        return len(counted) / seconds

    def told(self) -> dict[str, Any]:
        return {
            "answers_per_second": self.rate,
            "tokens": float(np.mean([one.tokens for one in self.answers])),
            "ttft": points([one.first for one in self.answers]),
            "answer": points([one.seconds for one in self.answers]),
            "generator_cpu": self.client,
        }


def points(seconds: Sequence[float]) -> list[float]:
    """p50, p95 and p99."""
    return [float(value) for value in np.quantile(seconds, POINTS)]


def bodies(questions: Sequence[str], model: str) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": inflight.MAX_TOKENS,
            "temperature": 0,
            "stream": True,
        }
        for question in questions
    ]


@cache
def split() -> list[Problem]:
    """It takes seconds to draw."""
    return problems("test")


def drawn(count: int) -> list[Problem]:
    """Of the test split, as many of each kind."""
    return spread(split(), count)


def ask(load: Generator, model: str, clients: int, answers: int) -> Done:
    asked = bodies([one.question for one in drawn(2 * clients + answers)], model)
    return load.run([Group(clients, asked, len(asked), KEYS["load"])])


def bare(stitch: Stitch, answers: int) -> inflight.Run:
    """The same on the engine."""
    run = inflight.Run()
    chosen = drawn(2 * BARE + answers)
    policy = make("entropy", tau=stitch.tau)
    inflight.Loop(stitch, policy, itertools.cycle(chosen), BARE).run(answers, run)
    return run


def taken(server: Server, load: Generator) -> float:
    """Of a core, by HTTP and the generator, with BARE clients."""
    before = server.http_cpu()
    done = ask(load, MODELS["stitched"], BARE, 4 * BARE)
    return (server.http_cpu() - before + done.cpu) / done.wall


def level(load: Generator, clients: int, answers: int, rounds: int) -> dict[str, Any]:
    """Both models at one number of clients, in blocks that change places."""
    runs = {name: Run() for name in MODELS}
    for number in range(rounds):
        for name in rotated(MODELS, number):
            runs[name].add(ask(load, MODELS[name], clients, answers), clients)
    found: dict[str, Any] = {"clients": clients}
    found |= {name: run.told() for name, run in runs.items()}
    found["over_llm"] = runs["stitched"].rate / runs["llm"].rate
    found["lost"] = [reason for run in runs.values() for reason in run.lost]
    return found


def overhead(
    load: Generator, stitch: Stitch, share: float, answers: int, rounds: int
) -> dict[str, Any]:
    """The server and the bare engine at BARE, in blocks that change places."""
    run, rates = Run(), {name: list[float]() for name in ("stitched", *ENGINES)}
    for number in range(rounds):
        for name in rotated(rates, number):
            if name == "stitched":
                rates[name].append(run.add(ask(load, MODELS[name], BARE, answers), BARE))
                continue
            with beside(share) if name == "beside" else nullcontext():
                rates[name].append(bare(stitch, answers).rate)
    seconds = {name: [1 / rate for rate in of] for name, of in rates.items()}
    mean, *interval = ratio_interval(seconds["stitched"], seconds["bare"])
    return {
        "answers_per_second": {name: harmonic_mean(of) for name, of in rates.items()},
        "blocks": rates,
        "overhead": mean,
        "interval_95": interval,
        "by_medians": median(seconds["stitched"]) / median(seconds["bare"]),
        "over_what_is_left": mean * sum(seconds["bare"]) / sum(seconds["beside"]),
        "http_and_generator_cpu": share,
        "lost": run.lost,
    }


def fairness(load: Generator, answers: int) -> dict[str, Any]:
    """What a key's client sees by itself, beside its like, with half of the rows, in a flood."""
    questions = [one.question for one in drawn(answers)]
    asked = bodies(questions, MODELS["stitched"])
    found: dict[str, Any] = {}
    for name, (mine, others) in COMPANY.items():
        beside = [Group(others, asked[::-1], None, KEYS["flood"])] if others else []
        group = Group(mine, asked, answers + 2 * mine, KEYS["load"])
        ended = load.run([group, *beside]).answers[0][mine:-mine]
        found[name] = points([one.seconds for one in ended])
        found[f"{name}_ttft"] = points([one.first for one in ended])
    found["over_half"] = found["flooded"][1] / found["half"][1]
    found["over_equal"] = found["flooded"][1] / found["equal"][1]
    return found


def show(row: dict[str, Any]) -> None:
    for name in MODELS:
        run = row[name]
        times = "".join(f"{1e3 * value:8.0f}" for value in (*run["ttft"], *run["answer"]))
        say(
            f"{row['clients']:3d} {name:9}{run['answers_per_second']:8.1f}/s{run['tokens']:8.0f}"
            f"{times}{run['generator_cpu']:9.0%}"
        )
    say(f"    {row['over_llm']:.2f}x the LLM alone, {len(row['lost'])} lost")


def show_overhead(found: dict[str, Any]) -> None:
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in found["answers_per_second"].items())
    low, high = found["interval_95"]
    say(f" {BARE} at {len(found['blocks']['bare'])} blocks each, answers a second: {rates}")
    told = f"    {found['overhead']:.3f}x the bare engine's time ({low:.3f} to {high:.3f}; "
    told += f"{found['by_medians']:.3f} by medians), {found['over_what_is_left']:.3f}x beside a "
    say(told + f"process as busy as HTTP and clients ({found['http_and_generator_cpu']:.2f} cores)")


def show_fair(found: dict[str, Any]) -> None:
    for name, (mine, others) in COMPANY.items():
        times = "".join(f"{1e3 * value:8.0f}" for value in (*found[f"{name}_ttft"], *found[name]))
        say(f"{mine:3d} {f'beside {others}':28}{times}")
    told = f"{found['over_half']:.2f}x with half of the rows, {found['over_equal']:.2f}x beside one"
    say(f"    p95 in the flood: {told}")


@contextmanager
def opened() -> Iterator[tuple[Server, Generator, Stitch]]:
    """The server, the generator, and the bare engine with the server's settings."""
    with ExitStack() as held:
        stitch = held.enter_context(rstitch.load())
        keys = ",".join(f"{name}={key}" for name, key in KEYS.items())
        server = held.enter_context(serve(keys=keys))
        load = held.enter_context(generator(HOST, server.port))
        yield server, load, stitch


def measure(server: Server, load: Generator, stitch: Stitch, quick: bool) -> dict[str, Any]:
    sizes, rounds = ((4, 16), 1) if quick else ((1, 4, 16, 64), 3)
    for model in MODELS.values():  # step costs, threads and memory are found here
        ask(load, model, BARE, 8)
    bare(stitch, 8)
    levels = []
    for clients in sizes:
        answers = 2 * clients if quick else max(64, 3 * clients)
        levels.append(level(load, clients, answers, rounds))
        show(levels[-1])
        progress(f"{clients} clients: done")
    share, answers = taken(server, load), BARE if quick else 4 * BARE
    over = overhead(load, stitch, share, answers, 1 if quick else BLOCKS)
    show_overhead(over)
    fair = fairness(load, 12 if quick else 100)
    show_fair(fair)
    return {"levels": levels, "overhead": over, "fair": fair}


def bars_of(found: dict[str, Any]) -> dict[str, bool]:
    levels, over = found["levels"], found["overhead"]
    return {
        "over_llm_2x_at_every_level": all(row["over_llm"] >= GOAL for row in levels),
        "nothing_lost": not any(row["lost"] for row in (*levels, over)),
        "overhead_10_percent_at_16": over["overhead"] <= OVERHEAD,
        "flood_within_1.5_of_half_the_machine": found["fair"]["over_half"] <= FAIR,
        "flood_within_1.5_of_an_equal": found["fair"]["over_equal"] <= FAIR,
    }


def main() -> None:
    args = parsed(parser(__doc__, "two numbers of clients, few answers"))
    say("ms to the first token (p50, p95, p99) and per answer; CPU of the generator")
    say("  N model    answers  tokens   first     p95     p99  answer     p95     p99      CPU")
    started = time.perf_counter()
    with opened() as (server, load, stitch):
        found = measure(server, load, stitch, args.quick)
        found |= {"tau": stitch.tau, "server_cpu_seconds": server.cpu()}
    found |= {"bars": bars_of(found), "seconds": time.perf_counter() - started}
    show_bars(found["bars"])
    ratio = min(row["over_llm"] for row in found["levels"])
    finish("server", ratio, GOAL, found, args.save)


if __name__ == "__main__":
    main()

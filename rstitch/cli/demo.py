"""`rstitch demo`: the built-in pair at work on held-out problems, then beside each model alone."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import options

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch
    from rstitch.pairs.recipe.problem import Problem

METHODS = {"LLM alone": "llm", "SLM alone": "slm", "stitched": None}
NOTE = (
    "A test bed: hand-offs, caches and timing are real; what tiny models get right says nothing "
    "about large ones."
)


@dataclass(slots=True)
class Row:
    """Sums of one method over the problems."""

    right: int = 0
    tokens: int = 0
    llm_tokens: int = 0
    handoffs: int = 0
    seconds: float = 0.0
    marks: list[bool] = field(default_factory=list)

    def add(self, answer: Answer, right: bool, seconds: float) -> None:
        self.right += right
        self.marks.append(right)
        self.tokens += answer.usage.tokens
        self.llm_tokens += answer.usage.llm_tokens
        self.handoffs += answer.usage.handoffs
        self.seconds += seconds


def demo(
    problems: Annotated[int, typer.Option(min=1, help="Problems to compare on.")] = 20,
    fresh_seed: Annotated[
        int,
        typer.Option(min=0, help="Another number draws a new test set, unseen in training too."),
    ] = 0,
    pair: options.Pair = "builtin",
    tau: options.Tau = None,
    as_json: options.Json = False,
    threads: options.Threads = None,
    compile: options.Compile = False,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
) -> None:
    """Watch one stitched answer, then compare with each model alone on held-out problems."""
    from rstitch.pairs.recipe.splits import problems as held_out
    from rstitch.pairs.recipe.splits import spread

    threshold = options.threshold(tau)
    chosen = spread(held_out("test", 180 * (1 + problems // 180), seed=fresh_seed), problems)
    stitch = options.open_pair(
        pair, None, None, threads=threads, compile=compile, dtype=dtype, device=device, max_rows=1
    )
    with stitch:
        options.tell_tau(stitch, threshold)
        if not as_json:
            _live(stitch, chosen[-1], threshold)
        table = _compare(stitch, chosen, threshold)
    if as_json:
        tau_used = stitch.tau if threshold is None else threshold
        if isinstance(tau_used, str):
            tau_used = stitch.normalised(tau_used)
        typer.echo(json.dumps(_as_dict(table, tau_used)))
    else:
        _print(table, NOTE if pair == "builtin" else "")


def _live(stitch: Stitch, problem: Problem, tau: float | str | None) -> None:
    from rich.console import Console

    from rstitch.cli.shown import show, summary
    from rstitch.report.colour import legend

    console = Console(stderr=True, highlight=False)
    console.print(problem.question + "\n", style="bold", markup=False)
    stream = stitch.stream(problem.question, tau=tau)
    show(stream)
    answer = stream.result()
    console.print(summary(answer.usage, answer.trace.forwards), style="dim")
    console.print(legend(), end="\n\n")


def _compare(stitch: Stitch, chosen: list[Problem], tau: float | str | None) -> dict[str, Row]:
    """Every method on every problem, interleaved; the first answer of each warms up uncounted."""
    from rich.console import Console
    from rich.progress import track

    from rstitch.evals.grade import is_right

    rows = {name: Row() for name in METHODS}
    for policy in METHODS.values():
        stitch.generate(chosen[0].question, policy=policy, tau=None if policy else tau)
    console = Console(stderr=True)
    quiet = not sys.stderr.isatty()
    for problem in track(chosen, "comparing", console=console, transient=True, disable=quiet):
        for name, policy in METHODS.items():
            started = time.perf_counter()
            answer = stitch.generate(problem.question, policy=policy, tau=None if policy else tau)
            seconds = time.perf_counter() - started
            rows[name].add(answer, is_right(answer.text, problem.answer), seconds)
    return rows


def _print(table: dict[str, Row], note: str) -> None:
    from rich.console import Console
    from rich.table import Table

    n = len(next(iter(table.values())).marks)
    base = table["LLM alone"].seconds
    shown = Table(title=f"{n} held-out problems, one at a time")
    shown.add_column("")
    for column in ("right", "tokens", "LLM share", "hand-offs", "seconds", "speed-up"):
        shown.add_column(column, justify="right")
    for name, row in table.items():
        shown.add_row(
            name,
            f"{row.right}/{n}",
            f"{row.tokens / n:.0f}",
            f"{row.llm_tokens / row.tokens:.0%}",
            f"{row.handoffs / n:.1f}",
            f"{row.seconds / n:.3f}",
            f"{base / row.seconds:.1f}x",
        )
    console = Console(highlight=False)
    console.print(shown)
    Console(stderr=True, highlight=False).print(note, style="dim")


def _as_dict(table: dict[str, Row], tau: float) -> dict[str, Any]:
    base = table["LLM alone"].seconds
    return {
        "tau": tau,
        "problems": len(next(iter(table.values())).marks),
        "methods": {
            name: {
                "right": row.right,
                "tokens": row.tokens,
                "llm_share": row.llm_tokens / row.tokens,
                "handoffs": row.handoffs,
                "seconds": row.seconds,
                "speed_up": base / row.seconds,
            }
            for name, row in table.items()
        },
    }

"""What stitching is compared with, on the built-in pair: docs/baselines.md.

    python -m benchmarks.baselines [--quick] [--save]

Greedy, one answer at a time, dev problems, all methods in turn on each problem. Speed is the LLM
alone's seconds over the method's, with a 95 % bootstrap interval over problems. `passes` is the
share of the seconds that went into forward passes: the rest is this package's own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say
from rstitch import baselines
from rstitch.api import Stitch
from rstitch.baselines import Written
from rstitch.baselines.early_exit import bound
from rstitch.baselines.outside import Outside
from rstitch.baselines.speculative import gain
from rstitch.evals.grade import is_right
from rstitch.evals.statistics import ratio_interval
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make
from rstitch.types import Side

MAX_TOKENS = 400
INDUCE = "\nThe answer is \\boxed{"
"""How the built-in LLM begins its answers."""
METHODS = {
    "speculative, k 1": baselines.make("speculative", k=1),
    "speculative, k 2": baselines.make("speculative", k=2),
    "speculative, k 5": baselines.make("speculative", k=5),
    "speculative, adapted": baselines.make("speculative", adapt=True),
    "gated, tau 0.03": baselines.make("gated-speculative", tau=0.03, theta=1.1),
    "gated, theta 0.025, window 2": baselines.make("gated-speculative", k=5, window=2),
    "gated, theta 0.025, window 0": baselines.make("gated-speculative", k=5, window=0),
    "early exit, 0.95": baselines.make("early-exit", induce=INDUCE),
}
Ask = Callable[[str], Written]


@dataclass(slots=True)
class Row:
    """What one method did, per problem."""

    seconds: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)

    def total(self, name: str) -> float:
        return sum(getattr(one, name) for one in self.written)


def stitched(stitch: Stitch, policy: Policy, question: str) -> Written:
    """An answer of the engine in the form of a baseline's."""
    answer = stitch.generate(question, policy=policy, max_tokens=MAX_TOKENS)
    kept = [p for p in answer.trace.proposals if p.keep]
    return Written(
        method=policy.spec(),
        tokens=tuple(p.token for p in kept),
        sides=tuple(p.side for p in kept),
        text=answer.text,
        reason=answer.reason,  # type: ignore[arg-type]
        seconds=answer.usage.seconds,
        forwards=tuple(answer.trace.forwards),
    )


def methods(stitch: Stitch) -> dict[str, Ask]:
    outside, llm = Outside(stitch), make("llm")

    def foreign(run: Callable[..., Written], question: str) -> Written:
        return run(stitch.prompts(question, policy=llm)[Side.LLM], MAX_TOKENS)

    rule = make("entropy", tau=stitch.tau)
    named: dict[str, Ask] = {"LLM alone": partial(stitched, stitch, llm)}
    named[f"stitched, tau {stitch.tau}"] = partial(stitched, stitch, rule)
    for name, method in METHODS.items():
        named[name] = partial(baselines.answer, stitch, method, max_tokens=MAX_TOKENS)
    named["transformers generate"] = partial(foreign, outside.generate)
    named["transformers assisted"] = partial(foreign, outside.assisted)
    named["transformers assisted, k 2"] = partial(foreign, partial(outside.assisted, k=2))
    return named


def acceptance(row: Row) -> float:
    """Of the drafted tokens that were judged."""
    return row.total("accepted") / (row.total("accepted") + row.total("rejected"))


def line(name: str, row: Row, alone: Row) -> str:
    ratio, low, high = ratio_interval(alone.seconds, row.seconds)
    count = len(row.seconds)
    cells = [f"{name:29}", f"{ratio:5.2f}x ({low:.2f} to {high:.2f})"]
    cells.append(f"right {sum(row.right)}/{count}")
    same = sum(a.tokens == b.tokens for a, b in zip(row.written, alone.written, strict=True))
    cells.append(f"LLM's tokens {same}/{count}")
    passes = row.total("llm_passes")
    if passes:
        cells.append(f"tokens/LLM pass {sum(len(w.tokens) for w in row.written) / passes:.2f}")
        spent = sum(f.seconds for w in row.written for f in w.forwards)
        cells.append(f"passes {spent / row.total('seconds'):.0%}")
    if row.total("drafted"):
        cells.append(f"acceptance {acceptance(row):.3f}")
    if row.total("deferred"):
        cells.append(f"lifted {row.total('deferred'):.0f}")
    if row.total("trials"):
        share = row.total("trial_seconds") / row.total("seconds")
        cells.append(f"trials {row.total('trials'):.0f}, exits {row.total('exited'):.0f}")
        cells.append(f"checks {share:.1%}, free ones at most {bound(share):.2f}x")
    return "  ".join(cells)


def step_cost(rows: Sequence[Row]) -> float:
    """A pass of the SLM over one of the LLM, one token each: medians."""
    passes = [f for row in rows for one in row.written for f in one.forwards if f.new_tokens == 1]
    slm, llm = ([f.seconds for f in passes if f.side is side] for side in Side)
    return statistics.median(slm) / statistics.median(llm)


def main() -> None:
    options = parser(__doc__, "few problems")
    options.add_argument("--problems", type=int, default=20)
    args = parsed(options)
    stitch = rstitch.load(threads=torch.get_num_threads())
    chosen = spread(problems("dev"), 4 if args.quick else args.problems)
    named = methods(stitch)
    rows = {name: Row() for name in named}
    for ask in named.values():
        ask(chosen[0].question)
    for number, problem in enumerate(chosen):
        for name, ask in named.items():
            started = time.perf_counter()
            written = ask(problem.question)
            rows[name].seconds.append(time.perf_counter() - started)
            rows[name].right.append(is_right(written.text, problem.answer))
            rows[name].written.append(written)
        progress(f"problem {number + 1}/{len(chosen)}")
    alone = rows["LLM alone"]
    for name, row in rows.items():
        say(line(name, row, alone))
    cost = step_cost(list(rows.values()))
    say(f"{len(chosen)} problems; an SLM step takes {cost:.2f} LLM steps")
    for k in (1, 2, 5):
        expected = gain(acceptance(rows[f"speculative, k {k}"]), k, cost)
        say(f"k {k}: {expected:.2f}x if the LLM judged drafts for nothing (Leviathan et al.)")
    totals = {name: sum(row.seconds) for name, row in rows.items()}
    best = min((name for name in rows if name.startswith("speculative")), key=totals.__getitem__)
    ratio = totals[best] / totals[f"stitched, tau {stitch.tau}"]
    details = {
        "seconds": totals,
        "right": {name: sum(row.right) for name, row in rows.items()},
        "best": best,
        "step_cost": cost,
        "n": len(chosen),
    }
    finish("baselines", ratio, 1.5, details, args.save)


if __name__ == "__main__":
    main()

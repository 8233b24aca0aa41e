"""Which tau a built-in pair runs at, fixed on dev problems before any test figure.

    python -m benchmarks.tau [--task order] [--quick] [--save]

The largest tau that is not inferior to the LLM alone on dev, with room for the noise of another
test set: the lower end of the paired one-sided 95 % interval of the accuracy difference lies above
-0.6 points, where test is asked for -1. Fresh dev seeds make the set larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rstitch
from benchmarks.common import Asked, finish, pair_parser, parsed, progress, say
from rstitch.api import Answer, Stitch
from rstitch.evals.grade import is_right
from rstitch.evals.statistics import paired_difference
from rstitch.pairs.recipe.problem import Posed
from rstitch.pairs.recipe.splits import spread
from rstitch.policy import Policy, make

TAUS = (0.02, 0.03, 0.05)
BOUND = -0.6
"""Points of accuracy that the lower end has to stay above. Version 2 of the pair was held to -1,
had -0.76 on dev and -1.36 on test."""
MAX_TOKENS = 400


def answers(stitch: Stitch, chosen: Sequence[Posed], policy: Policy) -> list[Answer]:
    return stitch.batch([p.question for p in chosen], policy=policy, max_tokens=MAX_TOKENS)


def marks(chosen: Sequence[Posed], given: list[Answer]) -> list[bool]:
    return [is_right(a.text, p.answer) for p, a in zip(chosen, given, strict=True)]


def row(tau: float, right: list[bool], alone: list[bool], given: list[Answer]) -> dict[str, Any]:
    tokens = sum(a.usage.tokens for a in given)
    difference, low = paired_difference(right, alone)
    return {
        "tau": tau,
        "accuracy": 100 * sum(right) / len(right),
        "difference_points": difference,
        "lower_end": low,
        "llm_share": sum(a.usage.llm_tokens for a in given) / tokens,
        "discards": sum(a.usage.discards for a in given) / len(given),
        "tokens": tokens / len(given),
    }


def main() -> None:
    args = parsed(pair_parser(__doc__, "few problems, wide intervals"))
    asked = Asked.by(args)
    seeds, taus = ((0,), TAUS[::2]) if args.quick else ((0, 1), TAUS)
    dev = [p for seed in seeds for p in asked.subject.problems("dev", seed=seed)]
    dev = spread(dev, 48) if args.quick else dev
    with rstitch.load(**asked.models, tau=TAUS[0], max_rows=64) as stitch:
        progress(f"LLM alone on {len(dev)} dev problems")
        alone = marks(dev, answers(stitch, dev, make("llm")))
        sweep = []
        for tau in taus:
            given = answers(stitch, dev, make("entropy", tau=tau))
            sweep.append(row(tau, marks(dev, given), alone, given))
            progress(f"{sweep[-1]}")
    accuracy = 100 * sum(alone) / len(alone)
    say(f"LLM alone: {accuracy:.2f} % of {len(dev)} dev problems")
    say(f"{'tau':<6} {'right':>8} {'points':>7} {'lower end':>10} {'LLM':>6} {'discards':>9}")
    for line in sweep:
        say(
            f"{line['tau']:<6} {line['accuracy']:6.2f} % {line['difference_points']:+7.2f}"
            f" {line['lower_end']:+10.2f} {line['llm_share']:6.1%} {line['discards']:9.1f}"
        )
    good = [line["tau"] for line in sweep if line["lower_end"] > BOUND]
    chosen = max(good) if good else None
    say(f"fixed on dev: tau {chosen}")
    details = {"problems": len(dev), "llm_accuracy": accuracy, "sweep": sweep, "tau": chosen}
    best = max(line["lower_end"] for line in sweep)
    finish(asked.name("tau"), best - BOUND, 0.0, details, args.save, asked.pair)


if __name__ == "__main__":
    main()

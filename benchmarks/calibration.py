"""Do cards keep their word? 200 calibrations drawn from recorded outcomes of the built-in pair.

    python -m benchmarks.calibration [--quick] [--save]

The LLM alone and six taus answer dev problems, many in flight; these are the population, so that
each tau's true loss against the LLM is known. A calibration draws problems from it, with
replacement, and certifies taus as `rstitch calibrate` does. Counted is how many of its cards hold a
tau that truly loses `within` or more: at most 1 - confidence of them, up to the noise of 200 draws.
Besides the margin people use, every true loss is a margin once, where a card is wrong most often:
there the tau stands exactly on the boundary, alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import rstitch
from benchmarks.common import Asked, finish, pair_parser, parsed, progress, say
from rstitch.api import Stitch
from rstitch.evals.calibration import bound
from rstitch.evals.grade import is_right
from rstitch.pairs.recipe.problem import Posed
from rstitch.pairs.recipe.splits import spread
from rstitch.policy import Policy, make

TAUS = (0.01, 0.03, 0.06, 0.1, 0.2, 0.4)
CALIBRATIONS, DRAWN = 200, 500
WITHIN, CONFIDENCE = 0.01, 0.95
MOST_WRONG = 20
"""Of 200 at 5 % each: more come once in 860 (binomial)."""
MAX_TOKENS = 400


def marks(stitch: Stitch, chosen: Sequence[Posed], policy: Policy) -> np.ndarray:
    """[problems] right or not."""
    given = stitch.batch([p.question for p in chosen], policy=policy, max_tokens=MAX_TOKENS)
    return np.array([is_right(a.text, p.answer) for p, a in zip(chosen, given, strict=True)])


def certified(won: Sequence[int], lost: Sequence[int], within: float, n: int = DRAWN) -> int:
    """How many taus, from the smallest on, are shown; of n draws."""
    for count, (w, l) in enumerate(zip(won, lost, strict=True)):  # noqa: E741
        if not bound.shown(w, l, n, within, CONFIDENCE):
            return count
    return len(won)


def drawn(within: float) -> int:
    """Problems of a calibration: enough to show something. Of fewer, no card could be wrong."""
    return max(DRAWN, bound.fewest(within, CONFIDENCE))


def coverage(ours: np.ndarray, alone: np.ndarray, within: float, seed: int) -> dict[str, Any]:
    """ours: [taus, problems]. How often a card is written, and is wrong."""
    draws, n = np.random.default_rng(seed), drawn(within)
    losses = [float(np.mean(alone) - np.mean(one)) for one in ours]
    cards = wrong = 0
    taken = [0] * (len(ours) + 1)
    for _ in range(CALIBRATIONS):
        pick = draws.integers(0, len(alone), n)
        won = [int((one[pick] & ~alone[pick]).sum()) for one in ours]
        lost = [int((alone[pick] & ~one[pick]).sum()) for one in ours]
        count = certified(won, lost, within, n)
        taken[count] += 1
        cards += count > 0
        wrong += count > 0 and max(losses[:count]) >= within - 1e-12
    return {"within": within, "drawn": n, "cards": cards, "wrong": wrong, "certified": taken}


def record(
    asked: Asked, quick: bool
) -> tuple[list[Posed], np.ndarray, np.ndarray, tuple[float, ...]]:
    """The population: problems, the LLM's marks, those of each tau."""
    chosen = spread(asked.subject.problems("dev"), 100 if quick else 1000)
    taus = TAUS[1::2] if quick else TAUS
    with rstitch.load(**asked.models, max_rows=64) as stitch:
        progress(f"LLM alone on {len(chosen)} dev problems")
        alone = marks(stitch, chosen, make("llm"))
        rows = []
        for tau in taus:
            rows.append(marks(stitch, chosen, make("entropy", tau=tau)))
            progress(f"tau {tau}: {rows[-1].mean():.2%} right")
    return chosen, alone, np.array(rows), taus


def main() -> None:
    args = parsed(pair_parser(__doc__, "a hundred problems, three taus"))
    asked = Asked.by(args)
    chosen, alone, ours, taus = record(asked, args.quick)
    losses = [float(np.mean(alone) - np.mean(one)) for one in ours]
    say(f"population: {len(chosen)} dev problems, the LLM alone {alone.mean():.2%} right")
    for tau, loss in zip(taus, losses, strict=True):
        say(f"tau {tau:<5} loses {100 * loss:+.2f} points")
    found = [coverage(ours, alone, WITHIN, seed=1)]
    for at, loss in enumerate(losses):
        if 0 < loss < 0.2:
            found.append({"tau": taus[at], **coverage(ours[at : at + 1], alone, loss, seed=2 + at)})
    for one in found:
        what = f"tau {one['tau']} on the boundary" if "tau" in one else "all taus"
        say(
            f"{what}, within {one['within']:.4f}, {one['drawn']} draws: {one['cards']} cards of "
            f"{CALIBRATIONS}, {one['wrong']} wrong (at most {MOST_WRONG})"
        )
    worst = max(one["wrong"] for one in found)
    details = {
        "problems": len(chosen),
        "llm_accuracy": float(alone.mean()),
        "taus": list(taus),
        "losses": losses,
        "calibrations": CALIBRATIONS,
        "confidence": CONFIDENCE,
        "found": found,
    }
    ratio, goal = 1 - worst / CALIBRATIONS, 1 - MOST_WRONG / CALIBRATIONS
    finish(asked.name("calibration"), ratio, goal, details, args.save, asked.pair)


if __name__ == "__main__":
    main()

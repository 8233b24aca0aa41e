"""What a router's file says of itself: the pair, the data, how it was chosen, what it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rstitch import __version__
from rstitch.evals.directory import Run
from rstitch.evals.statistics import compare, ratio_interval
from rstitch.evals.task import fingerprint
from rstitch.router.paired import Paired
from rstitch.router.plan import Plan
from rstitch.router.trial import Trial


def card_of(
    plan: Plan,
    paired: Sequence[Paired],
    run: Run,
    gate: Trial,
    trials: Mapping[str, Trial],
    best: str,
    frontier: Sequence[Mapping[str, float]],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """JSON-ready; `rstitch.policy.network.read_card` needs tau and models."""
    pairs = [pair for one in paired if one.right for pair in one.pairs]
    harmful = sum(pair.right_handed and not pair.right_kept for pair in pairs)
    steps = [record for record in run.records if record["type"] == "step"]
    chosen = trials[best]
    against = compare(chosen.right, gate.right)
    faster = ratio_interval(gate.seconds, chosen.seconds)
    return {
        "tau": plan.tau,
        "models": about["models"],
        "lambda": plan.price,
        "seed": plan.seed,
        "llm_share": chosen.llm_share,
        "chosen": best,
        "data": {
            "train": fingerprint(plan.train),
            "dev": fingerprint(plan.dev),
            "problems": len(paired),
            "decisions": len(pairs),
            "harmful": harmful,
            "steps": len(steps),
            "rollouts": sum(record["rollouts"] for record in steps),
        },
        "prices": run.config["methods"]["prices"],
        "dev": {
            "gate": gate.told(),
            **{name: one.told() for name, one in trials.items()},
            "points": against.points,
            "points_low": against.low,
            "faster": faster[0],
            "faster_low": faster[1],
        },
        "frontier": list(frontier),
        "rstitch": __version__,
    }

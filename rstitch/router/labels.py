"""The supervised data of a run: paired rollouts under the entropy rule, and their labels.

Only decisions of right answers count: whether keeping the SLM's token loses what handing over has.
The few answers that keeping a token would mend are left out, since the entropy rule that writes
them is not the rule that the network will make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.evals.directory import Run
from rstitch.policy import make
from rstitch.router.decisions import Places, Seen, see
from rstitch.router.paired import Pair, Paired, collect
from rstitch.router.plan import Plan
from rstitch.router.policies import GateFromLLM
from rstitch.router.problems import Graded

if TYPE_CHECKING:
    from rstitch.api import Stitch

Tell = Callable[[str, int, int], None]


def all_of(
    stitch: Stitch,
    plan: Plan,
    train: Sequence[Graded],
    run: Run,
    tell: Tell,
    late: Callable[[], bool],
) -> list[Paired]:
    """Those of the training problems, chunk by chunk, until all are written or it is late.

    Raises BadRequest where no answer is right, whoever writes it.
    """
    found = [one for record in run.records if record["type"] == "paired" for one in read(record)]
    over = any(record["type"] == "paired-over" for record in run.records)
    done = sum(len(r["answers"]) for r in run.records if r["type"] == "paired")
    rule, from_llm = make("entropy", tau=plan.tau), GateFromLLM(plan.tau)
    while done < len(train) and not over:
        tell("paired rollouts", done, len(train))
        part = train[done : done + plan.chunk]
        written = collect(stitch, part, done, rule, from_llm, plan.tau, plan.max_tokens)
        run.add({"type": "paired", "answers": [_packed(one) for one in written]})
        found += written
        done += len(part)
        if late() and done < len(train):
            run.add({"type": "paired-over", "problems": done})
            over = True
    tell("paired rollouts", len(train), len(train))
    if not any(
        one.right or any(p.right_kept or p.right_handed for p in one.pairs) for one in found
    ):
        raise BadRequest(
            f"none of {len(found)} training problems is solved, whoever writes: there is nothing "
            "to learn from; train on easier ones, or give more --max-tokens"
        )
    return found


def seen_of(
    stitch: Stitch, train: Sequence[Graded], paired: Sequence[Paired]
) -> tuple[Seen, Tensor, Tensor]:
    """Inputs, harm (bool) and problem (int64) of every decision that counts."""
    right = [one for one in paired if one.right]
    seen = see(
        stitch,
        [
            Places(train[one.problem].text, one.tokens, [pair.position for pair in one.pairs])
            for one in right
        ],
    )
    pairs = [(one.problem, pair) for one in right for pair in one.pairs]
    harm = [pair.right_handed and not pair.right_kept for _, pair in pairs]
    return seen, torch.tensor(harm, dtype=torch.bool), torch.tensor([i for i, _ in pairs])


def _packed(one: Paired) -> dict[str, Any]:
    return {
        "problem": one.problem,
        "tokens": list(one.tokens),
        "right": one.right,
        "at": [pair.position for pair in one.pairs],
        "handed": _bits(pair.handed for pair in one.pairs),
        "right_kept": _bits(pair.right_kept for pair in one.pairs),
        "right_handed": _bits(pair.right_handed for pair in one.pairs),
    }


def _bits(flags: Any) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def read(record: dict[str, Any]) -> list[Paired]:
    found = []
    for one in record["answers"]:
        columns = [[bit == "1" for bit in one[k]] for k in ("handed", "right_kept", "right_handed")]
        pairs = tuple(Pair(*row) for row in zip(one["at"], *columns, strict=True))
        found.append(Paired(one["problem"], tuple(one["tokens"]), one["right"], pairs))
    return found

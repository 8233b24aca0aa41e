"""Run the passes of a recorded answer again, for real: the same sides, sizes and contexts.

The tokens are others, since no pass takes longer for what its tokens mean. What the answer shared
with others is run for it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.runner import Row
from rstitch.errors import BadRequest
from rstitch.latency.bench import Bench
from rstitch.types import Forward, Sampling, Side


def replay(
    engine: InProcessEngine, forwards: Sequence[Forward], sampling: Sampling | None = None
) -> float:
    """Seconds of all passes, gate and reading included, as `Price.passes` predicts them.

    A row that the answer had cut back or lost is cut; what it had from another sample's prompt is
    fed untimed. Raises BadRequest where a pass is longer than a row may be.
    """
    total, rows = 0.0, dict[Side, list[Row]]()
    with Bench(engine, sampling) as bench:
        for one in forwards:
            if one.context > engine.rows.limits[one.side]:
                raise BadRequest(
                    f"a pass of the trace has a context of {one.context} tokens; the "
                    f"{one.side.name} here holds {engine.rows.limits[one.side]}; replay it on "
                    "its own pair"
                )
            if one.side not in rows:
                rows[one.side] = bench.rows(one.side, 1)
            bench.grow(one.side, rows[one.side], [one.context - one.new_tokens])
            total += bench.seconds(one.side, rows[one.side], [one.new_tokens])
    return total

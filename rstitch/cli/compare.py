"""`rstitch compare`: somebody's own rule beside everything that it has to beat."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped
from rstitch.errors import BadRequest

RIVALS = ("speculative", "early-exit", "vote", "cascade", "opening")
CONTROLS = ("coin", "two-state", "elsewhere", "requests")


@grouped
def compare(
    asked: evaluating.Asked,
    opening: options.Opening,
    policy: Annotated[
        str,
        typer.Option(help="The rule: a name or path.py:Class; with parameters: margin,bound=.1."),
    ],
    tau: options.Tau = None,
    compile: options.Compile = False,
) -> None:
    """A policy against both models alone, R-Stitch's rule, what the same seconds buy otherwise, and
    four kinds of random routing at its own LLM share."""
    if policy.split(",")[0] in ("llm", "slm", *CONTROLS):
        raise BadRequest(
            f"--policy {policy} is in the table anyway, for a rule to be compared with; name a "
            "rule, such as entropy,tau=0.1"
        )
    methods = dict.fromkeys(["llm", "slm", "stitched", policy, *RIVALS, *CONTROLS])
    evaluating.carry_out(
        asked, opening, list(methods), policy, [name for name in RIVALS if name != policy],
        tau=options.threshold(tau), compile=compile,
    )  # fmt: skip

"""`rstitch eval`: methods side by side on one task, and a directory that keeps what they wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped

METHODS = ["llm", "slm", "stitched"]


@grouped
def evaluate(
    asked: evaluating.Asked,
    opening: options.Opening,
    tuning: options.Tuning,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="llm, slm, stitched, speculative, gated-speculative, early-exit, vote, cascade, "
            "brief, opening, the controls coin, two-state, elsewhere, requests, "
            "transformers-generate, transformers-assisted, vllm, vllm-draft, vllm-fly, any policy, "
            "or path.py:Class; with parameters: vote,k=5.",
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="The method that controls are matched to; stitched.")
    ] = None,
    tau: options.Tau = None,
    compile: options.Compile = False,
) -> None:
    """Accuracy and speed of several methods on the same problems, kept in a directory."""
    evaluating.carry_out(
        asked, opening, method or METHODS, like,
        tau=options.threshold(tau), compile=compile, **tuning.settings(),
    )  # fmt: skip

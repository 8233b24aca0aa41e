"""`rstitch record`: answers, both models at every position of them, and their harmful tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import analysed, evaluating, options
from rstitch.cli.groups import grouped

METHODS = ["slm", "llm"]


@grouped
def record(
    task: evaluating.Name,
    out: evaluating.Out,
    opening: options.Opening,
    tuning: options.Tuning,
    method: Annotated[
        list[str] | None,
        typer.Option(help="slm, llm, stitched, any policy, or path.py:Class; slm and llm."),
    ] = None,
    score_both: Annotated[
        bool,
        typer.Option(
            "--score-both", help="Both models' entropy, log-probability and top at each position."
        ),
    ] = False,
    harmful: Annotated[
        bool,
        typer.Option(
            "--harmful", help="The tokens that made the SLM's answers wrong; implies --score-both."
        ),
    ] = False,
    problems: evaluating.Problems = None,
    samples: evaluating.Samples = 1,
    in_flight: Annotated[int, typer.Option(min=1, help="Answers in flight.")] = 16,
    seed: evaluating.Seed = 0,
    max_tokens: evaluating.MaxTokens = 512,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_p: evaluating.TopP = None,
    tau: options.Tau = None,
    compile: options.Compile = False,
    as_json: options.Json = False,
) -> None:
    """Record both models at every position of their answers, for study without the models."""
    from rstitch.evals.recording import record as recording

    asked = evaluating.Asked(
        task, out, problems, samples, 1, in_flight, seed, max_tokens, temperature, top_p,
        as_json=as_json,
    )  # fmt: skip
    plan = evaluating.planned(asked, method or METHODS, None)
    recording.check(plan.methods, harmful, temperature)
    with evaluating.ready(
        asked, opening, plan,
        tau=options.threshold(tau), compile=compile, **tuning.settings(),
    ) as one:  # fmt: skip
        sizes = {side.label: loaded.runner.vocab_size for side, loaded in one.stitch.models.items()}
        recording.record(
            one.stitch, one.plan, out, {**one.about, "vocabulary": sizes}, one.verifier, one.tell,
            scores=score_both or harmful, harmful=harmful,
        )  # fmt: skip
    analysed.show(out, as_json=as_json)

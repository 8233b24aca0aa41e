"""`rstitch record`: answers, both models at every position of them, and their harmful tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import analysed, evaluating, options

METHODS = ["slm", "llm"]


def record(
    task: evaluating.Name,
    out: evaluating.Out,
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
    pair: options.Pair = "builtin",
    slm: options.Slm = None,
    llm: options.Llm = None,
    tau: options.Tau = None,
    slm_suffix: options.SlmSuffix = None,
    llm_suffix: options.LlmSuffix = None,
    threads: options.Threads = None,
    compile: options.Compile = False,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
    kv_memory: options.KVMemory = options.DEFAULTS.kv_memory,
    profile: options.Profile = options.DEFAULTS.profile,
    engine: options.Engine = options.DEFAULTS.engine,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.Json = False,
) -> None:
    """Record both models at every position of their answers, for study without the models."""
    from rstitch.evals.recording import record as recording

    asked = evaluating.Asked(
        task, out, problems, samples, 1, in_flight, seed, max_tokens,
        options.given(temperature=temperature, top_p=top_p), True, as_json,
    )  # fmt: skip
    plan = evaluating.planned(asked, method or METHODS, None)
    recording.check(plan.methods, harmful, temperature)
    with evaluating.ready(
        asked, plan, pair, slm, llm,
        suffix=options.suffix(slm_suffix, llm_suffix), tau=options.threshold(tau), threads=threads,
        compile=compile, dtype=dtype, device=device, kv_memory=kv_memory, profile=profile,
        engine=engine, trust_remote_code=trust_remote_code,
    ) as one:  # fmt: skip
        sizes = {side.label: loaded.runner.vocab_size for side, loaded in one.stitch.models.items()}
        recording.record(
            one.stitch, one.plan, out, {**one.about, "vocabulary": sizes}, one.verifier, one.tell,
            scores=score_both or harmful, harmful=harmful,
        )  # fmt: skip
    analysed.show(out, as_json=as_json)

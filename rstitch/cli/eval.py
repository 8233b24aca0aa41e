"""`rstitch eval`: methods side by side on one task, and a directory that keeps what they wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import evaluating, options

METHODS = ["llm", "slm", "stitched"]


def evaluate(
    task: evaluating.Name,
    out: evaluating.Out,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="llm, slm, stitched, speculative, gated-speculative, early-exit, vote, cascade, "
            "brief, opening, the controls coin, two-state, elsewhere, requests, "
            "transformers-generate, transformers-assisted, any policy, or path.py:Class; with "
            "parameters: vote,k=5.",
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="The method that controls are matched to; stitched.")
    ] = None,
    problems: evaluating.Problems = None,
    samples: evaluating.Samples = 1,
    repeats: evaluating.Repeats = None,
    in_flight: evaluating.InFlight = 1,
    seed: evaluating.Seed = 0,
    max_tokens: evaluating.MaxTokens = 512,
    temperature: evaluating.Temperature = None,
    top_p: evaluating.TopP = None,
    no_traces: evaluating.NoTraces = False,
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
    """Accuracy and speed of several methods on the same problems, kept in a directory."""
    evaluating.carry_out(
        evaluating.Asked(
            task, out, problems, samples, repeats, in_flight, seed, max_tokens,
            options.given(temperature=temperature, top_p=top_p), not no_traces, as_json,
        ),
        method or METHODS, like, pair, slm, llm,
        suffix=options.suffix(slm_suffix, llm_suffix), tau=options.threshold(tau), threads=threads,
        compile=compile, dtype=dtype, device=device, kv_memory=kv_memory, profile=profile,
        engine=engine, trust_remote_code=trust_remote_code,
    )  # fmt: skip

"""`rstitch compare`: somebody's own rule beside everything that it has to beat."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import evaluating, options
from rstitch.errors import BadRequest

RIVALS = ("speculative", "early-exit", "vote", "cascade", "opening")
CONTROLS = ("coin", "two-state", "elsewhere", "requests")


def compare(
    task: evaluating.Name,
    policy: Annotated[
        str,
        typer.Option(help="The rule: a name or path.py:Class; with parameters: margin,bound=.1."),
    ],
    out: evaluating.Out,
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
    threads: options.Threads = None,
    compile: options.Compile = False,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
    engine: options.Engine = options.DEFAULTS.engine,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.Json = False,
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
        evaluating.Asked(
            task, out, problems, samples, repeats, in_flight, seed, max_tokens,
            options.given(temperature=temperature, top_p=top_p), not no_traces, as_json,
        ),
        list(methods), policy, pair, slm, llm, tau=options.threshold(tau), threads=threads,
        compile=compile, dtype=dtype, device=device, engine=engine,
        optional=[name for name in RIVALS if name != policy], trust_remote_code=trust_remote_code,
    )  # fmt: skip

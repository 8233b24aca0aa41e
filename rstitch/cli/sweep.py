"""`rstitch sweep`: one rule at several values of one knob, and which of them are worth having."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import evaluating, options
from rstitch.errors import BadRequest


def sweep(
    task: evaluating.Name,
    values: Annotated[str, typer.Argument(help="The knob: tau=0.001,0.01,0.03,0.1.")],
    out: evaluating.Out,
    policy: Annotated[
        str, typer.Option(help="The rule, with its other parameters: window,window=8.")
    ] = "entropy",
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
    threads: options.Threads = None,
    compile: options.Compile = False,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
    engine: options.Engine = options.DEFAULTS.engine,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.Json = False,
) -> None:
    """The frontier of a rule between both models alone."""
    evaluating.carry_out(
        evaluating.Asked(
            task, out, problems, samples, repeats, in_flight, seed, max_tokens,
            options.given(temperature=temperature, top_p=top_p), not no_traces, as_json,
        ),
        ["llm", "slm", *settings_of(policy, values)], None, pair, slm, llm, threads=threads,
        compile=compile, dtype=dtype, device=device, engine=engine,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip


def settings_of(policy: str, values: str) -> list[str]:
    """`tau=0.01,0.1` as one label for each value. Raises BadRequest for what is no knob."""
    knob, equals, listed = values.partition("=")
    found = [value.strip() for value in listed.split(",") if value.strip()]
    if not equals or not knob.strip() or not found:
        raise BadRequest(f"{values!r} is no knob with values; write it as tau=0.001,0.01,0.1")
    for value in found:
        options.number(knob, value)
    return list(dict.fromkeys(f"{policy},{knob.strip()}={value}" for value in found))

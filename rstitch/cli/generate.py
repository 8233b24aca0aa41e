"""`rstitch generate`: one stitched answer. The answer goes to stdout, the thinking to stderr."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import options, saving
from rstitch.cli.groups import grouped
from rstitch.cli.shown import show, summary
from rstitch.errors import BadRequest, RStitchError
from rstitch.types import llm_alone_seconds

if TYPE_CHECKING:
    from rstitch.stream import Answer, Stream


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends an answer."""

    max_tokens: Annotated[int, typer.Option(help="Tokens of the answer at most.")] = 512
    n: Annotated[int, typer.Option("--n", help="Answers to write, one after the other.")] = 1
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends the answer.")] = None
    stop_token: Annotated[
        list[int] | None, typer.Option(metavar="ID", help="Token id that ends the answer.")
    ] = None
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Go on after an end-of-text token.")
    ] = False

    def checked(self) -> dict[str, Any]:
        """For `Stitch.streams`. Raises BadRequest for what needs no pair to be refused."""
        options.at_least(1, n=self.n, max_tokens=self.max_tokens)
        for token in self.stop_token or []:
            options.at_least(0, stop_token=token)
        if "" in (self.stop or []):
            raise BadRequest("a stop string is empty; give at least one character")
        return {
            "n": self.n,
            "max_tokens": self.max_tokens,
            "stop": self.stop or (),
            "stop_token_ids": self.stop_token or (),
            "ignore_eos": self.ignore_eos,
        }


@dataclass(frozen=True, slots=True)
class Running:
    """How the engine goes about it."""

    compile: options.Compile = False
    waiting: options.Waiting = options.DEFAULTS.waiting
    max_wait: options.MaxWait = options.DEFAULTS.max_wait
    max_rows: options.MaxRows = None
    slm_threads: options.SlmThreads = None
    llm_threads: options.LlmThreads = None
    kv_type: options.KVType = options.DEFAULTS.kv_type
    flash_attention: options.FlashAttention = options.DEFAULTS.flash_attention
    gpu_layers: options.GpuLayers = options.DEFAULTS.gpu_layers

    def settings(self, answers: int) -> dict[str, Any]:
        """For `Opening.open`; of so many answers all are in flight that may be."""
        options.at_least(1, max_rows=self.max_rows)
        rows = self.max_rows or min(answers, options.DEFAULTS.max_rows)
        return {**asdict(self), "max_rows": rows}


@grouped
def generate(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    opening: options.Opening,
    tuning: options.Tuning,
    drawing: options.Drawing,
    within: options.Within,
    *,
    tau: options.Tau = None,
    policy: options.Rule = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the policy, name=number.")
    ] = None,
    ending: Ending,
    logprobs: Annotated[
        int, typer.Option(metavar="K", help="The K likeliest tokens, in --json and the trace.")
    ] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="No chat template.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write the trace here (JSON lines).")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per answer on stdout.")
    ] = False,
    running: Running,
) -> None:
    """Write one answer with both models, or several samples."""
    threshold = options.threshold(tau)
    rule = options.policy_of(policy, param or [], threshold)
    tuned, limits = tuning.settings(raw=raw), within.checked(rule)
    chosen = drawing.settings()
    ended, run = ending.checked(), running.settings(ending.n)
    options.at_least(0, logprobs=logprobs)
    text = _stdin() if prompt == "-" else prompt
    if trace is not None:
        saving.check(trace)
    with opening.open(**run, **tuned) as stitch:
        streams = stitch.streams(
            text,
            tau=threshold if rule is None else None,
            policy=options.in_units(stitch, rule, threshold),
            sampling=replace(stitch.defaults.sampling, **chosen),
            raw=raw,
            top_logprobs=logprobs,
            **ended,
            **limits,
        )
        if rule is None:
            options.tell_tau(stitch, threshold)
        if not as_json and (line := stitch.defaults.sampling_line(**chosen)):
            typer.echo(line, err=True)
        _write(streams, trace, as_json)


def _write(streams: list[Stream], trace: Path | None, as_json: bool) -> None:
    """Show each answer to its end; the trace is saved however they end."""
    done = False
    try:
        for stream in streams:
            show(stream, quiet=as_json)
            answer = stream.result()
            if as_json:
                typer.echo(json.dumps(_as_dict(answer)))
            else:
                typer.echo(summary(answer.usage, answer.trace.forwards), err=True)
        done = True
    finally:
        try:
            for stream in streams:
                stream.close()
        finally:
            if trace is not None:
                _save(streams, trace, tell=not done)


def _save(streams: list[Stream], path: Path, tell: bool) -> None:
    """tell: a failure is told in a line, since another error or Ctrl-C is already under way."""
    try:
        saving.save([stream.trace for stream in streams], path)
    except RStitchError as error:
        if not tell:
            raise
        typer.echo(f"rstitch: {error}", err=True)


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise BadRequest("the prompt on stdin is not UTF-8 text") from None


def _as_dict(answer: Answer) -> dict[str, Any]:
    reasoned = answer.reasoned
    logprobs = _logprobs(answer)
    return {
        "text": answer.text,
        "reasoning": reasoned.reasoning,
        "answer": reasoned.answer.strip(),
        "reason": answer.reason,
        "policy": answer.trace.policy,
        "seed": answer.trace.sampling.seed,
        "sampling": answer.trace.sampling.as_dict(),
        "usage": answer.usage.as_dict(),
        "llm_alone_predicted_seconds": llm_alone_seconds(answer.usage, answer.trace.forwards),
        **({"logprobs": logprobs} if logprobs else {}),
    }


def _logprobs(answer: Answer) -> list[dict[str, Any]]:
    """Of each token of the answer, where they were asked for."""
    return [
        {
            "token": proposal.token,
            "side": proposal.side.label,
            "text": text,
            "logprob": proposal.logprob,
            "top_logprobs": proposal.top_logprobs,
        }
        for proposal, text in zip(answer.trace.proposals, answer.trace.texts, strict=True)
        if proposal.keep and proposal.top_logprobs
    ]

"""`rstitch generate`: one stitched answer. The answer goes to stdout, the thinking to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import options
from rstitch.errors import BadRequest
from rstitch.text import Phase
from rstitch.types import Forward, Proposal, Sampling, Usage, llm_alone_seconds

if TYPE_CHECKING:
    from rstitch.stream import Answer, Stream

OWN = "the pair's own if left out"

MARKS = {Phase.REASONING: "</think>", Phase.ANSWER: "<think>"}
"""What ends each phase."""


def generate(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    pair: options.Pair = "builtin",
    slm: options.Slm = None,
    llm: options.Llm = None,
    slm_suffix: options.SlmSuffix = None,
    llm_suffix: options.LlmSuffix = None,
    tau: options.Tau = None,
    policy: options.Rule = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the policy, name=number.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of the answer at most.")] = 512,
    temperature: Annotated[float | None, typer.Option(help=f"0 is greedy; {OWN}.")] = None,
    top_k: Annotated[int | None, typer.Option(help=f"0 keeps all; {OWN}.")] = None,
    top_p: Annotated[float | None, typer.Option(help=f"Nucleus; {OWN}.")] = None,
    min_p: Annotated[float | None, typer.Option(help=f"Relative floor; {OWN}.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same tokens.")] = None,
    n: Annotated[int, typer.Option("--n", help="Answers to write, one after the other.")] = 1,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends the answer.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="No chat template.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write the trace here (JSON lines).")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per answer on stdout.")
    ] = False,
    threads: options.Threads = None,
    compile: options.Compile = False,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
    kv_memory: options.KVMemory = options.DEFAULTS.kv_memory,
    profile: options.Profile = options.DEFAULTS.profile,
    waiting: options.Waiting = options.DEFAULTS.waiting,
    max_wait: options.MaxWait = options.DEFAULTS.max_wait,
    engine: options.Engine = options.DEFAULTS.engine,
    slm_threads: options.SlmThreads = None,
    llm_threads: options.LlmThreads = None,
    kv_type: options.KVType = options.DEFAULTS.kv_type,
    flash_attention: options.FlashAttention = options.DEFAULTS.flash_attention,
    gpu_layers: options.GpuLayers = options.DEFAULTS.gpu_layers,
) -> None:
    """Write one answer with both models, or several samples."""
    rule = options.policy_of(policy, param or [])
    threshold = options.threshold(tau)
    suffix = options.suffix(slm_suffix, llm_suffix, raw=raw)
    chosen = _given(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    Sampling(**chosen)  # a wrong value is told before anything is loaded
    text = _stdin() if prompt == "-" else prompt
    _check_trace(trace)
    stitch = options.open_pair(
        pair, slm, llm, suffix=suffix, threads=threads, compile=compile, dtype=dtype, device=device,
        kv_memory=kv_memory, profile=profile, waiting=waiting, max_wait=max_wait,
        engine=engine, slm_threads=slm_threads, llm_threads=llm_threads, kv_type=kv_type,
        flash_attention=flash_attention, gpu_layers=gpu_layers,
        max_rows=min(max(n, 1), options.DEFAULTS.max_rows),
    )  # fmt: skip
    with stitch:
        streams = stitch.streams(
            text,
            n=n,
            tau=threshold,
            policy=rule,
            sampling=replace(stitch.defaults.sampling, **chosen),
            max_tokens=max_tokens,
            stop=stop or (),
            raw=raw,
        )
        if rule is None:
            options.tell_tau(stitch, threshold)
        if not as_json and (line := stitch.defaults.sampling_line(**chosen)):
            typer.echo(line, err=True)
        _write(streams, trace, as_json)


def _write(streams: list[Stream], trace: Path | None, as_json: bool) -> None:
    """Show each answer to its end; the trace is saved however they end."""
    try:
        for stream in streams:
            show(stream, quiet=as_json)
            answer = stream.result()
            if as_json:
                typer.echo(json.dumps(_as_dict(answer)))
            else:
                typer.echo(summary(answer.usage, answer.trace.forwards), err=True)
    finally:
        for stream in streams:
            stream.close()
        if trace is not None:
            _save(streams, trace)


def show(stream: Stream, quiet: bool = False) -> None:
    """Print pieces as they come: reasoning to stderr, answer to stdout.

    Coloured on a terminal; elsewhere the text and nothing but the text.
    """
    from rich.console import Console
    from rich.text import Text

    from rstitch.report.colour import style

    consoles = {
        Phase.ANSWER: Console(highlight=False),
        Phase.REASONING: Console(stderr=True, highlight=False),
    }
    phases = _Phases(Phase.REASONING if stream.starts_thinking else Phase.ANSWER)

    def put(phase: Phase, text: str, proposal: Proposal | None) -> None:
        console = consoles[phase]
        if console.is_terminal:
            shown = Text(text, style(proposal) if proposal else "")
            console.print(shown, end="", soft_wrap=True)
        else:
            print(text, end="", file=console.file, flush=True)

    for piece in stream:
        if piece.text and not quiet:
            for phase, text in phases.push(piece.text):
                put(phase, text, piece.proposal)
    if not quiet:
        put(phases.phase, phases.held, None)
        print()


@dataclass(slots=True)
class _Phases:
    """Tells reasoning from answer in text that comes in pieces; the marks belong to the reasoning.

    Holds back what may be the beginning of a mark.
    """

    phase: Phase
    held: str = ""

    def push(self, text: str) -> list[tuple[Phase, str]]:
        parts, text = [], self.held + text
        mark = MARKS[self.phase]
        while mark in text:
            head, _, text = text.partition(mark)
            inside = self.phase is Phase.REASONING
            parts += [(self.phase, head), (Phase.REASONING, mark)]
            self.phase = Phase.ANSWER if inside else Phase.REASONING
            mark = MARKS[self.phase]
        size = max(n for n in range(len(mark)) if text.endswith(mark[:n]))
        self.held = text[len(text) - size :]
        parts.append((self.phase, text[: len(text) - size]))
        return [(phase, part) for phase, part in parts if part]


def summary(usage: Usage, forwards: Sequence[Forward] = ()) -> str:
    """The last line of an answer: tokens per side, hand-offs, seconds, and the LLM's prediction."""
    alone = llm_alone_seconds(usage, forwards)
    predicted = "" if alone is None else f"; LLM alone, same tokens: ~{alone:.2g} s (predicted)"
    rate = usage.tokens / usage.seconds if usage.seconds else 0.0
    return (
        f"[{usage.slm_tokens} tokens SLM, {usage.llm_tokens} LLM ({usage.llm_share:.0%}), "
        f"{usage.handoffs} hand-offs, {usage.seconds:.2f} s, {rate:.0f} tokens/s"
        f"{predicted}]"
    )


def _check_trace(path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise BadRequest(f"--trace {path}: there is no directory {path.parent}")
    if path is not None and path.is_dir():
        raise BadRequest(f"--trace {path} is a directory; name a file")


def _given(**values: Any) -> dict[str, Any]:
    """The options that were used."""
    return {name: value for name, value in values.items() if value is not None}


def _save(streams: list[Stream], path: Path) -> None:
    from rstitch import trace as traces

    try:
        with path.open("w", encoding="utf-8") as file:
            traces.write([stream.trace for stream in streams], file)
    except OSError as error:
        raise BadRequest(f"--trace {path} cannot be written: {error.strerror}") from error


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise BadRequest("the prompt on stdin is not UTF-8 text") from None


def _as_dict(answer: Answer) -> dict[str, Any]:
    reasoned = answer.reasoned
    return {
        "text": answer.text,
        "reasoning": reasoned.reasoning,
        "answer": reasoned.answer.strip(),
        "reason": answer.reason,
        "policy": answer.trace.policy,
        "seed": answer.trace.sampling.seed,
        "sampling": asdict(answer.trace.sampling),
        "usage": answer.usage.as_dict(),
        "llm_alone_predicted_seconds": llm_alone_seconds(answer.usage, answer.trace.forwards),
    }

"""Trains one of the built-in models on CPU; the run can be stopped and resumed at any step."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from rstitch.pairs.recipe import checkpoint, distil
from rstitch.pairs.recipe.checkpoint import Progress
from rstitch.pairs.recipe.data import Batch, Source, batches
from rstitch.pairs.recipe.models import Role, build
from rstitch.pairs.recipe.optim import Optimizer
from rstitch.pairs.recipe.subjects import ARITHMETIC, Subject

WARMUP_STEPS = 60
SAVE_SECONDS = 120.0
REPORT_SECONDS = 10.0
LONGEST_STEP = 20.0
"""Seconds beyond this are a pause (a stopped process, a sleeping machine), not training."""
BATCH_TOKENS = 3072
"""Small, because steps are what a short run lacks: after 350k tokens the LLM's held-out loss was
1.20 in batches of 4096, 1.61 in 6144. Below 3072 the optimizer costs too much of each step."""
DEFAULT_TOKENS: dict[Role, int] = {
    "llm": 29_000_000,
    "slm": 6_000_000,
    "overconfident": 6_000_000,
    "sibling": 6_000_000,
}
Loss = Callable[[Qwen2ForCausalLM, Batch], torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """What to train, where, and for how long: tokens or seconds of training, else DEFAULT_TOKENS.

    A run resumed with a budget goes on towards that one, even if its first was used up.
    """

    role: Role
    out: Path
    seed: int = 0
    tokens: int | None = None
    seconds: float | None = None
    resume: bool = False
    max_steps: int | None = None
    """Stop (and save) after this many steps in all, as an interrupt would."""
    bf16: bool = False
    """Matrix products in bfloat16 (the weights stay float32), slow on CPUs that have none."""
    start: Path | None = None
    """An exported model to go on from, instead of fresh weights."""
    peak: float = 1.0
    """Scale of the learning rate at its highest; a model that is trained on wants less."""
    teacher: Path | None = None
    """An exported model whose distributions are learnt instead of the tokens."""
    subject: Subject[Any] = ARITHMETIC
    drills: float | None = None
    """Another share of drills than is usual: 1, to begin with what all else needs."""
    long: float | None = None
    """Another share of the LLM's own traces than is usual."""
    batch_tokens: int | None = None
    """Another size than BATCH_TOKENS."""
    compiled: bool = False
    """Compile the layers first: a minute, and a C++ compiler, for about 1.6x the speed after."""

    @property
    def checkpoint(self) -> Path:
        return self.out / f"{self.role}.checkpoint.safetensors"


def loss_of(model: Qwen2ForCausalLM, batch: Batch, *, bf16: bool = False) -> torch.Tensor:
    """Mean cross entropy with the tokens that are there."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return functional.cross_entropy(distil.chosen_logits(model, batch), batch.targets)


def rate(progress: Progress) -> float:
    """The learning rate's scale: a short rise, then straight down to nothing."""
    return progress.peak * min(1.0, progress.step / WARMUP_STEPS) * (1.0 - progress.fraction)


class Stopper:
    """Turns Ctrl-C and SIGTERM into a stop after the step at hand, so that state stays whole."""

    def __init__(self) -> None:
        self.asked = False
        self.before = [(s, signal.signal(s, self._ask)) for s in (signal.SIGINT, signal.SIGTERM)]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def restore(self) -> None:
        for number, handler in self.before:
            signal.signal(number, handler)


class Report:
    """A line on stderr every few seconds."""

    def __init__(self, progress: Progress) -> None:
        self.mark = (time.monotonic(), progress.tokens)
        self.losses: list[float] = []

    def add(self, loss: float, progress: Progress) -> None:
        self.losses.append(loss)
        now = time.monotonic()
        since, tokens = self.mark
        if now - since < REPORT_SECONDS:
            return
        speed = (progress.tokens - tokens) / (now - since)
        left = progress.seconds * (1 / max(progress.fraction, 1e-6) - 1)
        sys.stderr.write(
            f"step {progress.step} tokens {progress.tokens / 1e6:.2f}M {speed:.0f}/s "
            f"loss {sum(self.losses) / len(self.losses):.4f} rate {rate(progress):.3f} "
            f"left {left / 60:.1f} min\n"
        )
        sys.stderr.flush()
        self.mark, self.losses = (now, progress.tokens), []


def train(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Trains and exports to ``out/role``; False when interrupted (the checkpoint is there)."""
    shape = plan.subject.shapes.get(plan.role, {})
    model = build(plan.role, tokenizer, plan.seed, **shape)
    optimizer = Optimizer(model, torch.bfloat16 if plan.bf16 else torch.float32)
    if plan.compiled:
        model.model.compile(dynamic=True)
    progress = _progress(plan, model, optimizer)
    stopper = Stopper()
    try:
        _loop(plan, tokenizer, model, optimizer, progress, stopper, _loss(plan, len(tokenizer)))
    finally:
        stopper.restore()
    checkpoint.save(plan.checkpoint, model, optimizer, progress)
    if progress.fraction < 1.0:
        return False
    checkpoint.export(plan.out / plan.role, model, tokenizer)
    return True


def _progress(plan: Plan, model: Qwen2ForCausalLM, optimizer: Optimizer) -> Progress:
    """Where the run stands: at its start, or where the checkpoint left it."""
    told = plan.tokens is not None or plan.seconds is not None
    if plan.resume and plan.checkpoint.exists():
        progress = checkpoint.load(plan.checkpoint, model, optimizer)
        if told:
            progress.budget_tokens, progress.budget_seconds = plan.tokens, plan.seconds
        return progress
    if plan.start is not None:
        checkpoint.start(plan.start, model)
    tokens = plan.tokens if told else DEFAULT_TOKENS[plan.role]
    return Progress(plan.seed, tokens, plan.seconds, plan.peak)


def _loop(
    plan: Plan,
    tokenizer: PreTrainedTokenizerFast,
    model: Qwen2ForCausalLM,
    optimizer: Optimizer,
    progress: Progress,
    stopper: Stopper,
    loss: Loss,
) -> None:
    """Steps until the budget is used or a stop is asked for; ``progress`` is updated in place."""
    report, saved = Report(progress), time.monotonic()
    done = (progress.window, progress.batch)
    start = time.monotonic()
    source = Source(plan.subject, plan.role, progress.seed, plan.drills, plan.long)
    for place, batch in batches(source, tokenizer, plan.batch_tokens or BATCH_TOKENS, done):
        if stopper.asked or progress.fraction >= 1.0 or progress.step == plan.max_steps:
            return
        progress.step += 1
        value = _step(model, optimizer, batch, progress, loss)
        progress.tokens += batch.tokens
        progress.window, progress.batch = place
        now = time.monotonic()
        progress.seconds, start = progress.seconds + min(now - start, LONGEST_STEP), now
        report.add(value, progress)
        if now - saved > SAVE_SECONDS:
            checkpoint.save(plan.checkpoint, model, optimizer, progress)
            saved = now


def _loss(plan: Plan, ids: int) -> Loss:
    if plan.teacher is None:
        return partial(loss_of, bf16=plan.bf16)
    teacher = distil.teacher(plan.teacher)

    def against(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
        return distil.loss_of(model, teacher, batch, ids, bf16=plan.bf16)

    return against


def _step(
    model: Qwen2ForCausalLM, optimizer: Optimizer, batch: Batch, progress: Progress, loss: Loss
) -> float:
    model.zero_grad(set_to_none=True)
    found = loss(model, batch)
    torch.autograd.backward(found)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step(progress.step, rate(progress))
    value = float(found.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {progress.step}")
    return value

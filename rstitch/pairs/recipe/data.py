"""Training samples and batches, drawn on the fly.

Sample ``index`` of a seed is always the same, and so is window ``w`` of batches: a run that resumes
needs only to know how many windows and batches it has used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

import torch
from transformers import PreTrainedTokenizerFast

from rstitch.pairs.recipe.models import Role
from rstitch.pairs.recipe.splits import P
from rstitch.pairs.recipe.subjects import Subject
from rstitch.pairs.recipe.tokenizer import STOP, prompt_text
from rstitch.pairs.recipe.traces import Span, asked_early

DRILLS: dict[Role, float] = {"llm": 0.12, "slm": 0.2, "overconfident": 0.2, "sibling": 0.2}
"""Share of samples that are the subject's drill."""
LONG, CONTINUED = 0.34, 0.62
"""Shares of the LLM's other samples: its own traces, and brief ones that it goes on with. A brief
trace teaches few tokens, so it needs the larger share to be read as well as a long one."""
POOL = 1
"""Windows of samples that the overconfident SLM is shown again and again: what it knows by heart
there, it says as surely of problems that it has not seen."""
WINDOW = 1024
"""Samples that are sorted by length together: more pad less, fewer mix better."""


@dataclass(frozen=True)
class Source(Generic[P]):
    """Where samples come from."""

    subject: Subject[P]
    role: Role
    seed: int
    drills: float | None = None
    """Another share of drills than the role's in DRILLS."""
    long: float | None = None
    """Another share of the LLM's own traces than LONG; brief ones make up for it."""


@dataclass(frozen=True)
class Sample:
    ids: list[int]
    learn: list[bool]


@dataclass(frozen=True)
class Batch:
    """Right-padded ids; ``where`` are the flat positions whose next token (``targets``) counts."""

    ids: torch.Tensor
    where: torch.Tensor
    targets: torch.Tensor
    tokens: int
    """Tokens without padding."""


def trace(
    subject: Subject[P], role: Role, problem: P, rng: random.Random, long: float = LONG
) -> list[Span]:
    """SLMs learn brief traces, the sibling the LLM's; the LLM long ones, taking over, and answering
    when stopped."""
    if role in ("slm", "overconfident"):
        return [Span(subject.brief(problem, rng))]
    if role == "sibling":
        return subject.long(problem, rng)
    draw = rng.random()
    if long <= draw < LONG + CONTINUED:
        return subject.continued(problem, rng)
    spans = subject.long(problem, rng)
    return spans if draw < long else asked_early(spans, rng)


def spans(source: Source[P], index: int) -> list[Span]:
    """Sample ``index`` as text: a drill, or a prompt, a trace, and the end of the turn."""
    subject, role = source.subject, source.role
    rng = random.Random(f"{role}/{source.seed}/{index}")
    if rng.random() < (DRILLS[role] if source.drills is None else source.drills):
        return subject.drill(rng)
    problem = subject.draw(rng)
    prompt = Span(prompt_text(problem.question), learn=False)
    long = LONG if source.long is None else source.long
    return [prompt, *trace(subject, role, problem, rng, long), Span(STOP)]


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[list[Span]]) -> list[Sample]:
    """Each text is encoded whole, as at inference; a token is learnt if its last character is."""
    joined = ["".join(span.text for span in parts) for parts in texts]
    coded = tokenizer.backend_tokenizer.encode_batch(joined, add_special_tokens=False)
    samples = []
    for parts, code in zip(texts, coded, strict=True):
        flags = [span.learn for span in parts for _ in span.text]
        samples.append(Sample(code.ids, [flags[end - 1] for _, end in code.offsets]))
    return samples


def collate(samples: list[Sample], pad: int) -> Batch:
    """Pads on the right: causal attention never looks there, so no mask is needed."""
    width = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), width), pad)
    where, targets = [], []
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        for column in range(1, len(sample.ids)):
            if sample.learn[column]:
                where.append(row * width + column - 1)
                targets.append(sample.ids[column])
    tokens = sum(len(sample.ids) for sample in samples)
    return Batch(ids, torch.tensor(where), torch.tensor(targets), tokens)


def window(
    source: Source[P], tokenizer: PreTrainedTokenizerFast, number: int, batch_tokens: int
) -> list[Batch]:
    """The batches of one window: samples sorted by length, cut by size, and shuffled."""
    first = (number % POOL if source.role == "overconfident" else number) * WINDOW
    texts = [spans(source, index) for index in range(first, first + WINDOW)]
    samples = sorted(encode(tokenizer, texts), key=lambda sample: len(sample.ids))
    groups: list[list[Sample]] = [[]]
    for sample in samples:
        if (len(groups[-1]) + 1) * len(sample.ids) > batch_tokens and groups[-1]:
            groups.append([])
        groups[-1].append(sample)
    random.Random(f"window/{source.seed}/{number}").shuffle(groups)
    pad = tokenizer.pad_token_id
    return [collate(group, pad if isinstance(pad, int) else 0) for group in groups]


def batches(
    source: Source[P],
    tokenizer: PreTrainedTokenizerFast,
    batch_tokens: int,
    done: tuple[int, int] = (0, 0),
) -> Iterator[tuple[tuple[int, int], Batch]]:
    """Batches without end, each with the place (window, batch) that resuming after it needs."""
    number, skip = done
    while True:
        for place, batch in enumerate(window(source, tokenizer, number, batch_tokens)):
            if place >= skip:
                yield (number, place + 1), batch
        number, skip = number + 1, 0

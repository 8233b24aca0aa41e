"""Greedy accuracy by transformers alone: a yardstick that owes nothing to our own engine."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rstitch.pairs.recipe.problem import Posed
from rstitch.pairs.recipe.subjects import Subject

BOXED = re.compile(r"\\boxed\{(\w+)\}")
BATCH = 64
MAX_NEW = 448


@dataclass(frozen=True)
class Outcome:
    problem: Posed
    text: str
    tokens: int

    @property
    def right(self) -> bool:
        found = BOXED.findall(self.text)
        return bool(found) and found[-1] == str(self.problem.answer)


def answer_all(folder: Path, asked: Sequence[Posed]) -> list[Outcome]:
    """Every problem's greedy answer, in order."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    outcomes: list[Outcome] = []
    for first in range(0, len(asked), BATCH):
        group = asked[first : first + BATCH]
        chats = [[{"role": "user", "content": problem.question}] for problem in group]
        inputs = tokenizer.apply_chat_template(
            chats,
            add_generation_prompt=True,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW)
        for problem, row in zip(group, output[:, inputs["input_ids"].shape[1] :], strict=True):
            ids = [i for i in row.tolist() if i != tokenizer.pad_token_id]
            outcomes.append(Outcome(problem, tokenizer.decode(ids), len(ids)))
    return outcomes


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """Accuracy overall and per level, and the mean length of an answer."""
    levels: dict[int, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        levels[outcome.problem.level].append(outcome.right)
    return {
        "n": len(outcomes),
        "accuracy": round(sum(o.right for o in outcomes) / len(outcomes), 4),
        "levels": {level: round(sum(r) / len(r), 4) for level, r in sorted(levels.items())},
        "mean_tokens": round(sum(o.tokens for o in outcomes) / len(outcomes), 1),
    }


def evaluate(
    subject: Subject[Any], folder: Path, split: str, n: int, seed: int = 0
) -> dict[str, object]:
    return summary(answer_all(folder, subject.problems(split, n, seed)))

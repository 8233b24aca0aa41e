"""The public sets by name: where each lies and what its rows mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rstitch.evals.extract import LETTERS
from rstitch.evals.grade import letter_of
from rstitch.evals.task import Problem
from rstitch.evals.tasks.hub import HubSet
from rstitch.evals.verify import Verifier

CHOICE = re.compile(r"^([A-J])\. ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Plain(HubSet):
    """Rows with a `problem` or `question`, and an `answer`."""

    def row(self, row: Mapping[str, Any]) -> tuple[str, str, str]:
        question = row["problem"] if "problem" in row else row["question"]
        return str(question), whole(row["answer"]), str(row.get("level", ""))


class AIME24(_Plain):
    name = "aime24"
    source = "HuggingFaceH4/aime_2024"
    split = "train"


class AIME25(_Plain):
    name = "aime25"
    source = "math-ai/aime25"


class AMC23(_Plain):
    """40 problems."""

    name = "amc23"
    source = "math-ai/amc23"


class AMC83(_Plain):
    """83 problems, as many as the paper's fractions imply."""

    name = "amc83"
    source = "AI-MO/aimo-validation-amc"
    split = "train"


class MATH500(_Plain):
    name = "math500"
    source = "HuggingFaceH4/MATH-500"


class Minerva(_Plain):
    name = "minerva"
    source = "math-ai/minervamath"


@dataclass(frozen=True, slots=True)
class OlympiadBench(HubSet):
    """Open questions of mathematics in English, text only."""

    name = "olympiadbench"
    source = "Hothan/OlympiadBench"
    config = "OE_TO_maths_en_COMP"
    split = "train"

    def row(self, row: Mapping[str, Any]) -> tuple[str, str, str]:
        return str(row["question"]), ", ".join(row["final_answer"]), str(row.get("subfield", ""))


@dataclass(frozen=True, slots=True)
class GSM8K(HubSet):
    name = "gsm8k"
    source = "openai/gsm8k"
    config = "main"

    def row(self, row: Mapping[str, Any]) -> tuple[str, str, str]:
        _, mark, answer = str(row["answer"]).rpartition("####")
        if not mark:
            raise ValueError("an answer without ####")
        return str(row["question"]), answer.strip().replace(",", ""), ""


@dataclass(frozen=True, slots=True)
class ARC(HubSet):
    """Multiple choice: the harder questions of the AI2 reasoning challenge."""

    name = "arc"
    source = "allenai/ai2_arc"
    config = "ARC-Challenge"
    instruction = "Please reason step by step, and put the letter of your choice within \\boxed{}."
    needs_verifier = False

    def row(self, row: Mapping[str, Any]) -> tuple[str, str, str]:
        choices = row["choices"]
        right = list(choices["label"]).index(row["answerKey"])  # some rows number theirs
        lines = [f"{a}. {text}" for a, text in zip(LETTERS, choices["text"], strict=False)]
        return "\n".join([str(row["question"]), *lines]), LETTERS[right], ""

    def is_right(self, problem: Problem, text: str, verifier: Verifier, inside: bool) -> bool:
        choices = "".join(CHOICE.findall(problem.text))
        return letter_of(text, inside, choices) == problem.answer


def whole(answer: Any) -> str:
    """A gold answer as a text; 27.0 is 27."""
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    return str(answer)

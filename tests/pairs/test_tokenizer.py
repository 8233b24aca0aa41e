"""The tokenizer loses nothing, keeps digits apart, and talks as the chat template says."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rstitch.pairs.recipe.models import as_llama, build
from rstitch.pairs.recipe.splits import problems
from rstitch.pairs.recipe.subjects import ARITHMETIC, ORDERS
from rstitch.pairs.recipe.tokenizer import SPECIAL, prompt_text, train_tokenizer
from rstitch.pairs.recipe.traces import PIECE, brief, long

TOKENIZER = train_tokenizer(ARITHMETIC.corpus(1500))


def pieces(text: str) -> list[str]:
    return [TOKENIZER.decode([i]) for i in TOKENIZER.encode(text)]


@given(st.text())
def test_any_text_survives(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.integers(0, 10**9), st.sampled_from(["", " ", "x", "=", "\n"]))
def test_digits_stand_alone(number: int, before: str) -> None:
    text = f"{before}{number}"
    assert pieces(text)[-len(str(number)) :] == list(str(number))


def test_every_byte_is_in_the_vocabulary() -> None:
    text = "".join(map(chr, range(0x250))) + "漢字 🙂"
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert TOKENIZER.unk_token_id is None


def test_training_text_is_one_token_to_a_piece() -> None:
    rng = random.Random(0)
    for problem in problems("test", 100):
        text = problem.question + "\n" + brief(problem, rng).split("</think>")[0]
        assert "".join(PIECE.findall(text)) == text
        assert pieces(text) == PIECE.findall(text)


def test_pieces_of_note() -> None:
    assert pieces("is \\boxed{42}.") == ["is", " \\boxed{", "4", "2", "}."]
    assert pieces(".\n\nNext") == [".", "\n\n", "Next"]
    assert pieces("</think>\nThe") == ["</think>", "\n", "The"]


def test_think_marks_outlast_skipping_special_tokens() -> None:
    ids = TOKENIZER.encode("<think>\nSo</think><|im_end|>")
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "<think>\nSo</think>"


def test_special_tokens_and_size() -> None:
    assert len(TOKENIZER) <= 1500
    assert TOKENIZER.eos_token == "<|im_end|>"
    assert TOKENIZER.pad_token == "<|endoftext|>"
    assert all(len(TOKENIZER.encode(token)) == 1 for token in SPECIAL)


def test_chat_template_with_and_without_a_system_message() -> None:
    user = {"role": "user", "content": "How many?"}
    plain = TOKENIZER.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
    assert plain == prompt_text("How many?")
    assert isinstance(plain, str) and plain.endswith("<|im_start|>assistant\n<think>\n")
    system = {"role": "system", "content": "Be brief."}
    both = TOKENIZER.apply_chat_template([system, user], tokenize=False)
    assert both == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow many?<|im_end|>\n"
    )


@pytest.mark.parametrize("beside_a_model", [False, True])
def test_saving_and_loading_change_nothing(tmp_path: Path, beside_a_model: bool) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    if beside_a_model:
        as_llama(build("slm", TOKENIZER, 0)).config.save_pretrained(tmp_path)
    rng = random.Random(1)
    text = prompt_text("Ωmega 12  x") + "".join(
        span.text for problem in problems("dev", 5) for span in long(problem, rng)
    )
    for loaded in (
        AutoTokenizer.from_pretrained(tmp_path),
        PreTrainedTokenizerFast.from_pretrained(tmp_path),
    ):
        assert loaded.encode(text) == TOKENIZER.encode(text)
        assert loaded.decode(loaded.encode(text)) == text
        assert re.sub(r"\s+$", "", loaded.chat_template) == TOKENIZER.chat_template


def test_the_second_task_has_a_tokenizer_whose_words_are_whole() -> None:
    tokenizer = train_tokenizer(ORDERS.corpus(1000))
    assert len(tokenizer) <= 576 and tokenizer.chat_template == TOKENIZER.chat_template
    rng = random.Random(0)
    for problem in ORDERS.problems("test", 60):
        text = problem.question + "\n" + ORDERS.brief(problem, rng).split("</think>")[0]
        assert [tokenizer.decode([i]) for i in tokenizer.encode(text)] == PIECE.findall(text)

"""Every supported family, from a directory through the real loader: the logits of prefill,
catch-up and decode against transformers' plain forward pass, and the text against `generate`."""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
import torch
from torch import Tensor

import rstitch
from rstitch.api import Stitch
from rstitch.config import EngineConfig
from rstitch.engine.loader import load_model
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side
from tests.families import FAMILIES, WINDOW, directory, plain, plain_logits
from tests.same import TOLERANCE, assert_same

WINDOWED = ["qwen2, sliding", "gemma2", "gemma3", "mistral", "gpt-oss"]
STEPS = {
    "ragged prefill, by row": [30, 9, 21],
    "ragged prefill, padded": [11, 1, 16],
    "catch-up": [3, 12, 5],
    "decode": [1, 1, 1],
    "catch-up of one": [0, 8, 0],
    "decode of one": [0, 0, 1],
    "mixed": [1, 13, 2],
}
"""Tokens fed to each of three rows; a row of more than 16 attends by itself."""


@lru_cache
def stitch(family: str) -> Stitch:
    source = str(directory(family))
    return rstitch.load(slm=source, llm=source)


def feed(family: str, one: TorchRunner, rows: dict[int, list[int]], counts: list[int]) -> float:
    """Extend rows by random tokens; how far the logits of all of them are off."""
    pick = random.Random(sum(map(len, rows.values())))
    fed = [
        Extend(row, [pick.randrange(4, 300) for _ in range(n)])
        for row, n in zip(rows, counts, strict=True)
        if n
    ]
    for item in fed:
        rows[item.row] += item.tokens
    got = one.extend(fed, logits="all").split([len(item.tokens) for item in fed])
    want = [plain_logits(family, rows[item.row])[-len(item.tokens) :] for item in fed]
    return max(float((a - b).abs().max()) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_plain_forward_pass(family: str) -> None:
    one = load_model(str(directory(family)), EngineConfig(max_rows=8)).runner
    for first in ("ragged prefill, by row", "ragged prefill, padded"):
        rows: dict[int, list[int]] = {one.open(): [] for _ in range(3)}
        for step in [first, *(name for name in STEPS if "prefill" not in name)]:
            off = feed(family, one, rows, STEPS[step])
            assert off < TOLERANCE, f"{first}, then {step}: off by {off:.1e}"
        for row in rows:
            one.free(row)


@pytest.mark.parametrize("family", FAMILIES)
def test_either_model_alone_writes_what_generate_writes(family: str) -> None:
    both, ids = stitch(family), stitch(family).tokenizer.encode("Mia has three boxes with apples.")
    ends = [both.tokenizer.eos_token_id]
    want = (
        plain(family)
        .generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=ends,
            pad_token_id=ends[0],
        )[0, len(ids) :]
        .tolist()
    )
    for side in Side:
        answer = both.generate(
            both.tokenizer.decode(ids), raw=True, policy=side.label, max_tokens=24
        )
        assert list(answer.trace.prompts[side]) == ids
        got = [p.token for p in answer.trace.proposals if p.keep]
        assert_same([got], [want], lambda _, at: gap(family, [*ids, *want[:at]]))


def gap(family: str, ids: list[int]) -> float:
    """Between the two best next tokens."""
    best: Tensor = plain_logits(family, ids)[-1].topk(2).values
    return float(best[0] - best[1])


@pytest.mark.parametrize("family", WINDOWED)
def test_the_windows_are_small_enough_to_show(family: str) -> None:
    """Else the tests above would say nothing about them: without windows the logits differ."""
    ids = list(range(10, 10 + 3 * WINDOW))
    wide = plain(family)
    with_window = plain_logits(family, ids)
    kept, wide.config.sliding_window = wide.config.sliding_window, 1000
    try:
        without = plain_logits(family, ids)
    finally:
        wide.config.sliding_window = kept
    assert (with_window - without)[-1].abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("family", WINDOWED)
def test_compiled_steps_of_a_windowed_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the row's whole capacity under a mask; here run uncompiled, for speed."""
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    steps(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma3", "mistral"])
def test_compiled_steps_really_compiled(family: str) -> None:
    steps(family)


def steps(family: str) -> None:
    """A prefill, catch-ups and decode steps of one row, across its window."""
    one = load_model(str(directory(family)), EngineConfig(max_rows=2, compile=True)).runner
    row, pick = one.open(), random.Random(1)
    ids: list[int] = []
    for n in (20, 1, 1, 4, 1, 3, 1):
        new = [pick.randrange(4, 300) for _ in range(n)]
        ids += new
        off = float((one.extend([Extend(row, new)])[0] - plain_logits(family, ids)[-1]).abs().max())
        assert off < TOLERANCE, f"{n} tokens up to {len(ids)}: off by {off:.1e}"

"""The torch runner with its KV in pages: the same histories, the same refusals, the probe."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from rstitch.engine.attention import NAME
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.probe import probe
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side
from tests.families import FAMILIES, config
from tests.histories import ROWS, assert_rows, play
from tests.models import PAGE, model, prompt, runner

WORDS = 99


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("seed", range(4))
def test_random_histories_equal_a_full_forward(side: Side, seed: int) -> None:
    play(side, runner(side, max_rows=ROWS, layout="paged"), seed, 40)


@pytest.mark.parametrize("family", FAMILIES)
def test_supported_families_pass_the_probe_in_pages(family: str) -> None:
    """Windows, caps, sinks, values narrower than keys: each as the plain forward pass has it."""
    torch.manual_seed(3)
    made = AutoModelForCausalLM.from_config(config(family, WORDS), attn_implementation=NAME).eval()
    probe("it", TorchRunner(made, WORDS, 4, 128, kv=PagedKV(4, 128, 16)))


def test_an_extend_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the model; the pages that it had been given go to those who need them."""
    one = runner(Side.LLM, max_rows=2, layout="paged")
    first, second = one.open(), one.open()
    ids = {first: list(prompt(12, 1)), second: list(prompt(5, 2))}
    one.extend([Extend(row, tokens) for row, tokens in ids.items()])

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(model(Side.LLM).model.layers[1].mlp, "forward", fail)
        for counts in ((1, 1), (3, 40), (1, 250)):
            with pytest.raises(RuntimeError, match="no memory left|exceed"):
                one.extend([Extend(r, [60] * n) for r, n in zip(ids, counts, strict=True)])
    assert_rows(Side.LLM, one, ids)


def test_memory_is_counted_in_pages() -> None:
    """A bound in bytes holds: the pool is one page more than rows may have."""
    one = runner(Side.LLM, max_rows=4, layout="paged")
    page = one.token_bytes * PAGE
    assert one.bound(10 * page + 3) == 9 * PAGE
    row = one.open()
    one.extend([Extend(row, prompt(9 * PAGE))])
    assert one.nbytes == 10 * page and one.held == 9 * PAGE
    assert one.fits([9 * PAGE]) and not one.fits([8 * PAGE, PAGE + 1])
    with pytest.raises(RuntimeError, match="1 more pages of 8 tokens are needed, 0 of 9"):
        one.extend([Extend(row, [5])])
    assert one.cached(row) == 9 * PAGE


def test_a_fork_shares_pages() -> None:
    one = runner(Side.SLM, max_rows=4, layout="paged")
    row = one.open()
    one.extend([Extend(row, prompt(100))])
    ids = {row: list(prompt(100))}
    for _ in range(3):
        ids[one.fork(row, 99)] = list(prompt(100))[:99]
    assert isinstance(one.kv, PagedKV) and one.kv.pages.used == 13
    assert_rows(Side.SLM, one, ids)
    for other in ids:
        one.free(other)
    assert one.kv.pages.used == 0

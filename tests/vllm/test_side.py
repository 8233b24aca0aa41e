"""What a side takes from vLLM once it runs, and what it asks of it; vLLM itself is made up."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.types import Side
from rstitch.vllm.side import Shape, VllmSide, limits_of
from rstitch.vllm.starting import Log


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The engine arguments of the last side started; it has 10 blocks of 16 tokens."""
    found: dict[str, Any] = {}

    class Args:
        def __init__(self, **given: Any) -> None:
            found.clear()
            found.update(given)

    class Llm:
        errored = False

        @classmethod
        def from_engine_args(cls, args: Args) -> Llm:
            one = cls()
            one.vllm_config = SimpleNamespace(  # type: ignore[attr-defined]
                model_config=SimpleNamespace(max_model_len=found["max_model_len"]),
                cache_config=SimpleNamespace(num_gpu_blocks=11, block_size=16),
            )
            return one

    for name, what in (
        ("vllm.engine.arg_utils", "AsyncEngineArgs"),
        ("vllm.v1.engine.async_llm", "AsyncLLM"),
    ):
        module = ModuleType(name)
        setattr(module, what, Args if what == "AsyncEngineArgs" else Llm)
        monkeypatch.setitem(sys.modules, name, module)
    return found


def side(**options: Any) -> VllmSide:
    return VllmSide(Shape("m", 300, 400, 100, 8), {"max_num_seqs": 2, **options})


@pytest.mark.parametrize(("length", "found"), [(100, 100), (40, 40), (1000, 160)])
def test_its_length_is_what_vllm_was_told_or_its_memory(
    asked: dict[str, Any], length: int, found: int
) -> None:
    one = side(max_model_len=length)
    one.start(10**6, Log())
    assert (one.max_length, one.limit, one.bytes) == (length, found, 8 * 160)
    assert not one.dead


def test_no_more_kv_memory_than_all_rows_can_fill(asked: dict[str, Any]) -> None:
    side(max_model_len=100).start(10**9, Log())
    assert asked["kv_cache_memory_bytes"] == 8 * 3 * (100 + 256)
    side(max_model_len=100).start(1000, Log())
    assert asked["kv_cache_memory_bytes"] == 1000


def test_rows_take_whole_blocks(asked: dict[str, Any]) -> None:
    one = side(max_model_len=100)
    one.start(1000, Log())
    assert one.holds([80, 80])
    assert not one.holds([81, 80])


@pytest.mark.parametrize(
    ("length", "told"),
    [(40, "whose context is 40; shorten it to at most 39"), (1000, "1,280 bytes holds 160 in all")],
)
def test_a_prompt_is_refused_in_the_words_of_every_engine(
    asked: dict[str, Any], length: int, told: str
) -> None:
    one = side(max_model_len=length)
    one.start(10**6, Log())
    limits = limits_of({Side.LLM: one})
    limits.check(Side.LLM, (1,) * (limits.limits[Side.LLM] - 1))
    with pytest.raises(BadRequest, match=told):
        limits.check(Side.LLM, (1,) * limits.limits[Side.LLM])

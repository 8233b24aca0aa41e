"""The LLM alone on a vLLM engine of its own, as vLLM runs it: what stitching on vLLM has to beat.

The pair's model, precision, memory and rows, without the gate and without what the gate needs. With
a draft, vLLM's own speculative decoding. An engine takes the LLM's memory once more.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, get_args

from rstitch.config import EngineConfig
from rstitch.engine import memory
from rstitch.errors import BadModel, BadRequest, RStitchError
from rstitch.types import Sampling, Side
from rstitch.vllm.hidden import ASKED
from rstitch.vllm.loop import Loop
from rstitch.vllm.side import VllmSide, line
from rstitch.vllm.starting import starting

GATED = (
    "logits_processors", "logprobs_mode", "max_logprobs", "disable_hybrid_kv_cache_manager",
)  # fmt: skip
"""Arguments that a side has for the gate's sake."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Ids of the LLM, and vLLM's reason."""

    tokens: tuple[int, ...]
    reason: str
    seconds: float
    """From asked to the last token."""


class Pending:
    """An answer that is being written; `close` gives it up."""

    def __init__(self, future: Future[Answered]) -> None:
        self._future = future

    def result(self) -> Answered:
        """Wait for it. Raises BadRequest with vLLM's reason."""
        try:
            return self._future.result()
        except RStitchError:
            raise
        except Exception as error:  # of many kinds
            raise BadRequest(f"vLLM: {line(error)}") from error
        finally:
            self.close()

    def close(self) -> None:
        self._future.cancel()


class Alone:
    """Owns the engine from construction to `close`."""

    def __init__(
        self, sides: Mapping[Side, VllmSide], config: EngineConfig, draft: Mapping[str, Any] | None
    ) -> None:
        """draft: vLLM's `speculative_config`, whose KV takes its part. Raises BadModel with vLLM's
        reason."""
        self._side = alone(sides, draft)
        self._names = itertools.count()
        weights = sum(sides[side].shape.weights for side in (sides if draft else (Side.LLM,)))
        share = memory.bound({Side.LLM: self._side}, config.kv_memory, config.device, weights)
        with starting(config.device, rows=1) as log:  # it has all cores to itself
            self._side.start(share[Side.LLM], log)
        self._loop = Loop("rstitch-vllm-alone")
        loose = (draft or {}).get("rejection_sample_method")
        if loose and not self._side.llm.vllm_config.use_v2_model_runner:
            self.close()
            raise BadModel(
                f"vLLM runs Model Runner V1 here, which takes no notice of {loose!r}; V2 needs "
                "Triton, and VLLM_USE_V2_MODEL_RUNNER must not be 0"
            )

    def begin(self, prompt: Sequence[int], max_tokens: int, given: Sampling, ends: Any) -> Pending:
        """Write an answer. ends: ids after which nothing more is wanted."""
        name = f"alone-{next(self._names)}"
        return Pending(
            self._loop.begin(self._write(name, list(prompt), max_tokens, given, sorted(ends)))
        )

    async def _write(
        self, name: str, prompt: list[int], max_tokens: int, given: Sampling, ends: list[int]
    ) -> Answered:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        wanted = SamplingParams(
            temperature=given.temperature,
            top_k=given.top_k,
            top_p=given.top_p,
            min_p=given.min_p,
            seed=given.seed,
            max_tokens=max_tokens,
            stop_token_ids=ends,
            ignore_eos=True,  # those of `ends` count
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        started, last = time.perf_counter(), None
        async for output in self._side.llm.generate({"prompt_token_ids": prompt}, wanted, name):
            last = output.outputs[0]
        assert last is not None
        seconds = time.perf_counter() - started
        return Answered(tuple(last.token_ids), str(last.finish_reason), seconds)

    def close(self) -> None:
        """Give up what is being written, and end vLLM's processes; a second time does nothing."""
        if self._loop.loop.is_closed():
            return
        self._side.stop()
        self._loop.close()


def need_fly() -> None:
    """Raise BadRequest where vLLM has no loose acceptance."""
    import vllm
    from vllm.config.speculative import RejectionSampleMethod

    if "fly" not in get_args(RejectionSampleMethod):
        raise BadRequest(
            f"vllm-fly: vLLM {vllm.__version__} has no rejection_sample_method 'fly', 0.33 has: "
            "install that, or leave the method out"
        )


def alone(sides: Mapping[Side, VllmSide], draft: Mapping[str, Any] | None) -> VllmSide:
    """The LLM's side as it is without the gate, and with a draft."""
    llm = sides[Side.LLM]
    options = {name: value for name, value in llm.options.items() if name not in GATED}
    shape = llm.shape
    if draft is not None:
        options["speculative_config"] = dict(draft)
        shape = replace(shape, token_bytes=sum(one.token_bytes for one in sides.values()))
    return VllmSide(shape, options, {**llm.environment, ASKED: ""})

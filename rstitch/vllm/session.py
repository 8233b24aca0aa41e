"""One request on one side's vLLM engine: a resumable session, whose KV stays between its turns.

A turn feeds what the side has not seen and reads until control passes. vLLM drops the last token
that it emitted when the next turn begins, so the id that ended a turn never enters the context.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rstitch.vllm.asked import Asked
from rstitch.vllm.report import Layout, Report


@dataclass(slots=True)
class Session:
    """Owned by the coroutine of its answer, which alone calls `turn` and has to `close` it."""

    llm: Any
    """vLLM's `AsyncLLM`."""
    name: str
    ends: list[int]
    """Ids after which nothing more is wanted."""
    cached: int = 0
    """Tokens of prompt and answer that the side keeps when the turn is over."""
    full: bool = False
    """The last turn ended since vLLM lets it be no longer."""
    _turns: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    _outputs: AsyncGenerator[Any, None] | None = None

    async def turn(
        self, tokens: Sequence[int], asked: Asked, layout: Layout, most: int
    ) -> AsyncGenerator[list[Report], None]:
        """Feed tokens; what is read from then on, as it comes, until control passes or `most`
        distributions were read. Raises vLLM's `EngineDeadError` where its process is gone."""
        from vllm.engine.protocol import StreamingInput
        from vllm.inputs import TokensPrompt

        wanted = self._params(asked, layout, most)
        prompt = TokensPrompt(prompt_token_ids=list(tokens))
        self._turns.put_nowait(StreamingInput(prompt=prompt, sampling_params=wanted))
        if self._outputs is None:
            self._outputs = self.llm.generate(self._inputs(), wanted, self.name)
        ended = False
        while not ended:
            part = (await anext(self._outputs)).outputs[0]
            ended = part.finish_reason is not None
            self.full = part.finish_reason == "length"
            if part.finish_reason in ("abort", "error"):
                raise RuntimeError(f"vLLM ended a turn with {part.finish_reason!r}")
            if part.token_ids:
                yield _read(part, layout)

    async def close(self) -> None:
        """Have vLLM forget the session, whatever it is doing."""
        if self._outputs is not None:
            await self._outputs.aclose()
            self._outputs = None

    async def _inputs(self) -> AsyncGenerator[Any, None]:
        while True:
            yield await self._turns.get()

    def _params(self, asked: Asked, layout: Layout, most: int) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        return SamplingParams(
            temperature=0.0,  # the gate has drawn already
            max_tokens=most,
            detokenize=False,
            ignore_eos=True,  # those of `ends` count
            stop_token_ids=[asked.stop, *self.ends],
            logprob_token_ids=layout.asked,
            flat_logprobs=True,
            output_kind=RequestOutputKind.DELTA,
            extra_args=asked.as_args(),
            skip_clone=True,
        )


def _read(part: Any, layout: Layout) -> list[Report]:
    told = part.logprobs
    ranges = zip(told.start_indices, told.end_indices, strict=True)
    return [
        layout.read(token, _asked_for(told, begin, end, layout))
        for token, (begin, end) in zip(part.token_ids, ranges, strict=True)
    ]


def _asked_for(told: Any, begin: int, end: int, layout: Layout) -> Sequence[float]:
    """Of one token: the emitted id's number comes first, then those of the ids asked for. Where
    vLLM has put outputs together that nobody took in time, no id comes twice."""
    values: Sequence[float] = told.logprobs[begin + 1 : end]
    if len(values) == len(layout.asked):
        return values
    by_id = dict(zip(told.token_ids[begin:end], told.logprobs[begin:end], strict=True))
    return [by_id[one] for one in layout.asked]

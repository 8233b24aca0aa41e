"""A question to a loaded pair, answered by a baseline with the pair's templates and defaults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rstitch.baselines.base import Baseline, Writing, Written
from rstitch.prompts import Prompt
from rstitch.types import Sampling

if TYPE_CHECKING:
    from rstitch.api import Stitch


def stream(
    stitch: Stitch,
    baseline: Baseline,
    prompt: Prompt,
    *,
    sampling: Sampling | None = None,
    max_tokens: int = 512,
    stop: str | Sequence[str] = (),
    stop_token_ids: Iterable[int] = (),
    ignore_eos: bool = False,
    raw: bool = False,
) -> Writing:
    """Iterate over an answer's tokens as they are written; options as in `Stitch.stream`.

    Nothing else may be in flight.
    """
    baseline = baseline.fitted(stitch)
    return Writing(
        baseline,
        stitch.in_process,
        stitch.prompts(prompt, policy=baseline.policy(), raw=raw),
        sampling or stitch.defaults.sampling,
        max_tokens=max_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=frozenset(stop_token_ids),
        ignore_eos=ignore_eos,
    )


def answer(stitch: Stitch, baseline: Baseline, prompt: Prompt, **options: Any) -> Written:
    """The whole answer; options as in `stream`."""
    return stream(stitch, baseline, prompt, **options).result()

"""How a request wants its tokens drawn: the pair's own settings, but for what the request says."""

from __future__ import annotations

from dataclasses import replace

from rstitch.errors import BadRequest
from rstitch.server.errors import bad
from rstitch.server.fields import Shared
from rstitch.types import Sampling

NAMES = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")


def sampling(body: Shared, own: Sampling, most: int) -> Sampling:
    """With a seed, a fresh one where the request has none. most: entries of logit_bias."""
    given = {name: value for name in NAMES if (value := getattr(body, name)) is not None}
    if given.get("top_k") == -1:
        given["top_k"] = 0
    if body.logit_bias is not None:
        given["logit_bias"] = _bias(body.logit_bias, most)
    seed = None if body.seed is None else body.seed % 2**63
    try:
        return replace(own, **given, seed=seed).seeded()
    except BadRequest as error:
        raise bad(str(error), str(error).partition(" ")[0]) from None


def each(body: Shared, first: Sampling, prompts: int) -> list[Sampling]:
    """Per prompt: the request's seed, so that each answer is what its prompt gets alone; where it
    has none a fresh one each, since equal prompts are to get answers of their own."""
    if body.seed is not None:
        return [first] * prompts
    return [first, *(replace(first, seed=None).seeded() for _ in range(1, prompts))]


def _bias(given: dict[str, float], most: int) -> tuple[tuple[int, float], ...]:
    if len(given) > most:
        told = f"logit_bias has {len(given)} entries; this server takes at most {most}"
        raise bad(told, "logit_bias")
    return tuple((int(token), value) for token, value in given.items())
